"""Everything that can be shown of runs, gathered into one document, and the page made of it."""

from charloom.report.gathering import Report as Report
from charloom.report.gathering import gather as gather
from charloom.report.page import report_page as report_page
