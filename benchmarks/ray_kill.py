"""What a run on a cluster loses when a worker and then a whole node are killed: nothing.

    python benchmarks/ray_kill.py FOLDER [--images 3000]

Makes tiny images below FOLDER, scores them in this process, then on three nodes of Ray on this machine with one worker
each, of which a worker process and then a node are killed (SIGKILL) on the way, and compares. Exit code 1 where an
image is absent, there twice, or has another score. The backend is a fake that takes 10 ms a call.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
PIDS = "RAY_KILL_PIDS"


def slow_fake() -> object:
    """The backend of the workers, each of which leaves a file with the number of its process."""
    from qdebias.backends.fake import FakeBackend

    if PIDS in os.environ:
        Path(os.environ[PIDS], str(os.getpid())).touch()
    return FakeBackend(delay=0.01)


def make_images(folder: Path, count: int) -> list[Path]:
    """Write tiny images of noise."""
    noise, paths = np.random.default_rng(1), [folder / f"{number:05}.png" for number in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return paths


def score_with_kills(photos: Path, out: Path) -> None:
    """Score on three nodes, killing a worker after a fifth of the chunks and a node after two fifths."""
    import ray
    from ray.cluster_utils import Cluster

    from qdebias.integrations.ray import Progress, Setting, Workers, score_on_ray

    node = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    nodes = [cluster.add_node(**node) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    killed: list[str] = []

    def kill(progress: Progress) -> None:
        if not killed and progress.done >= progress.chunks // 5:
            number = max(int(path.name) for path in Path(os.environ[PIDS]).iterdir())
            os.kill(number, signal.SIGKILL)
            killed.append(f"worker process {number}")
        elif len(killed) == 1 and progress.deaths and progress.done >= progress.chunks * 2 // 5:
            cluster.remove_node(nodes[0], allow_graceful=False)
            killed.append("a node")
        else:
            return
        print(f"  {progress.seconds:6.1f} s  {progress.images:,} images done; killed {killed[-1]}", flush=True)

    setting = Setting(model="ray_kill:slow_fake", method="vanilla", batch=1)
    try:
        done = score_on_ray([photos], out=out, setting=setting, workers=Workers(count=3), chunk=20, on_progress=kill)
        print(f"  {done.seconds:6.1f} s  {done.images:,} images done; {done.deaths} workers died")
    finally:
        ray.shutdown()
        cluster.shutdown()
    if len(killed) < 2:
        sys.exit("too few images to kill anything; take more")


def local_logits(paths: list[Path]) -> dict[str, list[float]]:
    """Return the logits of each image from this process."""
    from qdebias.runs.scorer import Scorer

    scorer = Scorer(backend=slow_fake(), method="vanilla", batch=1)  # type: ignore[arg-type]
    results = scorer.score_many(paths)
    return {str(path): result.logits[0][0].tolist() for path, result in zip(paths, results, strict=True)}


def main() -> None:
    """Make the images, score them in both ways, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=3000)
    arguments = parser.parse_args()
    photos, out, pids = (arguments.folder.resolve() / name for name in ("photos", "out", "pids"))
    for old in (photos, out, pids):
        shutil.rmtree(old, ignore_errors=True)
    paths = make_images(photos, arguments.images)
    begin = time.monotonic()
    expected = local_logits(paths)
    print(f"in this process:\n  {time.monotonic() - begin:6.1f} s  {len(expected):,} images")
    pids.mkdir()
    os.environ |= {
        PIDS: str(pids),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # else 15: they would wait for whatever else this machine does
    }
    print("on three nodes:")
    score_with_kills(photos, out)
    import pyarrow.parquet as pq

    rows = [row for path in sorted((out / "scores").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    seen = Counter(row["path"] for row in rows)
    repeated = sum(count - 1 for count in seen.values())
    other = sum(row["logits"][0][0] != expected[row["path"]] for row in rows)
    print(
        f"{len(seen):,} images in the output, {len(expected) - len(seen)} absent, {repeated} repeated, {other} unequal"
    )
    sys.exit(int(set(seen) != set(expected) or repeated > 0 or other > 0))


if __name__ == "__main__":
    main()
