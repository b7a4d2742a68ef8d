"""Everything that can be shown of runs, gathered into one document, and the page made of it."""

from charloom.report.contents import Report as Report
from charloom.report.contents import gather as gather
from charloom.report.pages.report import report_page as report_page
