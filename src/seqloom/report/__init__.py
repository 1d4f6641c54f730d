"""The report of a run: one self-contained page."""

from seqloom.report.write import write_report

__all__ = ["write_report"]
