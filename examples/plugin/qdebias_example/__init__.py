"""A custom degradation, readout, method and model."""
