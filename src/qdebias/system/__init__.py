"""What differs between systems: files, processes, names of Python objects."""
