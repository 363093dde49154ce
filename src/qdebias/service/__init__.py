"""Scores behind HTTP, and a page to look at how they come about; see docs/service.md."""

READY = b"r"  # what a process that works for the server writes to its stdout before anything else, when it can work
