"""Scores behind HTTP, and a page to look at how they come about; see docs/service.md."""
