"""`python -m qdebias`: the command line, which imports nothing from the current folder."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]
    from qdebias.cli import main

    main()
