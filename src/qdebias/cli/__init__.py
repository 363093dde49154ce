"""The command line: each command parses, calls the library and prints."""

from qdebias.cli.app import main

__all__ = ["main"]
