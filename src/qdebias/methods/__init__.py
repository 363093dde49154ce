"""What to ask a model about an image, and what the answers amount to."""
