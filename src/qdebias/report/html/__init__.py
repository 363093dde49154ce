"""A run as one HTML page that needs nothing else: no network, no script, every picture inside."""

from qdebias.report.html.facts import Facts, gather
from qdebias.report.html.page import write_page

__all__ = ["Facts", "gather", "write_page"]
