"""From images to scores: the scorer, and the run folder that keeps what a model answered; see docs/runs.md."""
