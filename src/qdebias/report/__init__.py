"""Pictures and pages about scores."""
