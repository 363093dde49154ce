"""mPLUG-Owl3, the model of the paper, in our own code: see `docs/mplug_owl3.md`."""
