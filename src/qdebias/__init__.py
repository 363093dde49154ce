"""Training-free image quality assessment with large multimodal models."""

__version__ = "0.1.0"
