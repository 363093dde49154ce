"""The fault matrix: every command meets every fault, as real processes with real signals, disks and sockets.

PYTHONPATH=tests/hardening:tests python -m faults [WORDS]      tries all, and prints the table of docs/reliability.md
"""
