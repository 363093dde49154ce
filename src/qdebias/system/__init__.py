"""The operating system and Python itself: files, locks, processes, imports by name."""
