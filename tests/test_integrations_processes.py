"""A metric in several processes; apart from the other integrations, as each process imports this file anew."""

from pathlib import Path

import torch

import qdebias
from qdebias.image import to_images
from qdebias.integrations.torchmetrics import ImageQuality


def score_in_process(rank: int, rendezvous: str, batch: torch.Tensor, out: str) -> None:
    """Score every second image, and let process 0 write the mean over all of them."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    metric = ImageQuality(model="fake", method="vanilla")
    metric.update(batch[rank::2])
    value = metric.compute()
    if rank == 0:
        torch.save(value, out)
    torch.distributed.destroy_process_group()


def test_two_processes_count_every_image_once(tmp_path: Path) -> None:
    """Three images over two processes: a mean of means would be another number."""
    batch = torch.randint(0, 256, (3, 3, 40, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    arguments = (str(tmp_path / "rendezvous"), batch, str(tmp_path / "mean.pt"))
    torch.multiprocessing.spawn(score_in_process, args=arguments, nprocs=2)
    got = torch.load(tmp_path / "mean.pt", weights_only=True)
    values = [score.value for score in qdebias.score(to_images(batch), model="fake", method="vanilla")]
    assert abs(got.item() - sum(values) / 3) < 1e-12
    assert abs(got.item() - ((values[0] + values[2]) / 2 + values[1]) / 2) > 1e-3
