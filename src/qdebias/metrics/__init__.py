"""How well scores agree with human ones, and how one becomes the other; other people's metrics."""
