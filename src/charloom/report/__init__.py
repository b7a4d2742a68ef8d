"""Runs in; plots and self-contained HTML pages of what they learned out."""

from charloom.report.contents import Report as Report
from charloom.report.contents import gather as gather
from charloom.report.pages.report import check_report as check_report
from charloom.report.pages.report import report_page as report_page
