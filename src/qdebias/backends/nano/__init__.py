"""The embedded model."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
BIASED = Path(__file__).parent / "checkpoint_biased"
