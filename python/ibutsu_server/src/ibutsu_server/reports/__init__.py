"""Readers of test reports: JUnit XML and Ibutsu archives, as streams of typed records. No database here.

`read_report` tells the format by the contents and gives a `Report`, which is an iterator of records. Whatever is
wrong with an upload ends in a `ReportError`; whatever goes wrong while the upload is fetched is passed on as it is.
"""

from ibutsu_server.reports.errors import ReportError
from ibutsu_server.reports.limits import Limits
from ibutsu_server.reports.records import ArtifactRecord, Record, ResultRecord, RunRecord
from ibutsu_server.reports.report import Format, Report, read_report

__all__ = [
    "ArtifactRecord",
    "Format",
    "Limits",
    "Record",
    "Report",
    "ReportError",
    "ResultRecord",
    "RunRecord",
    "read_report",
]
