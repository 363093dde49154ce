"""A degradation, a readout, a method and a model of one's own."""
