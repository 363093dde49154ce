"""Runs on a cluster: Ray places the workers, each of which holds the model and writes what it scored.

The parts: `plan` freezes which images belong together, `worker` scores one chunk of them at a time, `crew` hands the
chunks out and copes with workers that die, `folder` is where plan and results lie. See docs/scale.md.
"""

from qdebias.integrations.ray.run import Progress, score_on_ray
from qdebias.integrations.ray.workers import Workers
from qdebias.runs.options import Options

Setting = Options
"""The name of `Options` in this place."""

__all__ = ["Progress", "Setting", "Workers", "score_on_ray"]
