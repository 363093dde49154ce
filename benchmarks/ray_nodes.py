"""How the throughput of a run on a cluster grows with nodes and GPUs, beside what docs/scale.md predicts.

    python benchmarks/ray_nodes.py FOLDER [--seconds 0.25] [--images 120]

Begins a cluster of one, two and three nodes on this machine, whose GPUs are Ray's numbers only, and scores tiny images
with a model that sleeps for a known time an image, as a GPU would keep it waiting: so it shows what Ray, the plan, the
hand-over of chunks and the writing of results cost, and not how many processor cores this machine has. Prints for each
cluster the images per second that are predicted, workers / seconds an image, and those that were measured, from when
all workers were at work.
"""

import argparse
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ray_kill import HERE, make_images

from qdebias.backends.fake import FakeBackend
from qdebias.integrations.ray import Progress, Setting, Workers, score_on_ray

SECONDS = "RAY_NODES_SECONDS"
CLUSTERS = ((1, 1.0), (2, 1.0), (3, 1.0), (3, 0.5))
"""Nodes, with one GPU each, and the part of it that a worker takes."""

CHUNK = 2
"""Images in a chunk: few, as the rate is known only to about one chunk a worker."""


def sleeper() -> FakeBackend:
    """The model of the workers."""
    return FakeBackend(delay=float(os.environ[SECONDS]), remember=False)


@dataclass(slots=True)
class Steady:
    """Images and seconds from when all workers were at work until the first of them had nothing left to do.

    Attributes:
        workers: How many there are.
    """

    workers: int
    begin: Progress | None = field(default=None, init=False)
    end: Progress | None = field(default=None, init=False)

    def __call__(self, progress: Progress) -> None:
        """Take note of how far the run is."""
        if progress.at_work == self.workers:
            self.begin, self.end = self.begin or progress, progress

    @property
    def rate(self) -> float:
        """Images per second."""
        if self.begin is None or self.end is None or self.begin is self.end:
            sys.exit("the workers were never all at work; take more images")
        return (self.end.images - self.begin.images) / (self.end.seconds - self.begin.seconds)


def measure(photos: Path, out: Path, workers: int, share: float) -> float:
    """Return images per second with some workers, each of which takes a share of a GPU."""
    steady = Steady(workers)
    setting = Setting(model="ray_nodes:sleeper", method="vanilla", batch=1)
    shutil.rmtree(out, ignore_errors=True)
    score_on_ray([photos], out=out, setting=setting, workers=Workers(gpus=share), chunk=CHUNK, on_progress=steady)
    return steady.rate


def measure_all(folder: Path, images: int, seconds: float) -> None:
    """Add node after node to a cluster and measure each."""
    import ray
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0} | small)
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        print("nodes  workers each  predicted  measured images/s")
        nodes = 0
        for wanted, share in CLUSTERS:
            while nodes < wanted:
                cluster.add_node(num_cpus=2, num_gpus=1, **small)
                nodes += 1
            cluster.wait_for_nodes()
            workers = round(nodes / share)
            make_images(folder / "photos", workers * images)
            rate, predicted = measure(folder / "photos", folder / "out", workers, share), workers / seconds
            print(f"{nodes:5}  {1 / share:12.0f}  {predicted:9.2f}  {rate:8.2f}  {rate / predicted:.1%}", flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> None:
    """Measure every cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=0.5, help="that the model takes for an image")
    parser.add_argument("--images", type=int, default=100, help="for each worker")
    arguments = parser.parse_args()
    os.environ |= {
        SECONDS: str(arguments.seconds),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # else 15: they would wait for whatever else this machine does
    }
    folder = arguments.folder.resolve()
    shutil.rmtree(folder / "photos", ignore_errors=True)
    measure_all(folder, arguments.images, arguments.seconds)


if __name__ == "__main__":
    main()
