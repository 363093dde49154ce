"""Teach the decoder to answer questions about the encoder's image tokens.

    python train.py WORK --out WORK/control              the control model: labels follow quality alone
    python train.py WORK --out WORK/biased --bias 0.4    single-image labels also follow content

Reads train/, camera/ and vision.pt. Writes a checkpoint folder; `state.pt` beside it lets an interrupted run go on:
each step's dialogues depend on the seed and the step alone.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import dialogues
import numpy as np
import torch
from checkpoint import save, tokenizer, untrained
from features import Set, load_training
from matching import learn_to_match, spread_out
from perceive import Heads, Lesson, lesson
from sampler import FIRST, SHARES, Dialogue, Sampler, nearest

from qdebias.backends.nano import NanoForConditionalGeneration, NanoProcessor, NanoVisionModel

BATCH = 64
SAVE_EVERY = 500
WARM_SHARE = 0.15
MATCHING = 600
CYCLES = ((2500, 2e-3), (1000, 1e-3))  # steps, highest rate
PRETRAINED = 0.1  # share of the rate for the encoder
REHEARSED = 128  # images a step
REHEARSAL = 0.3  # weight of their loss


Cycles = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Batch:
    """Dialogues as tensors: (b, length) ids padded on the right, the images of all dialogues in order, targets."""

    ids: torch.Tensor
    last: torch.Tensor
    images: torch.Tensor
    rows: torch.Tensor
    options: torch.Tensor
    target: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the same on another device."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


class Encoder:
    """Renders dialogues with the processor's own template."""

    def __init__(self, processor: NanoProcessor) -> None:
        self.processor = processor
        self.ids = lru_cache(maxsize=200_000)(self._ids)
        self.token = lru_cache(maxsize=None)(lambda word: processor.tokenizer.encode(word)[0])

    def _ids(self, wording: dialogues.Wording, after: bool) -> list[int]:
        pictures = [{"type": "image"}] * wording.images
        text = [{"type": "text", "text": wording.question}]
        messages = [{"role": "user", "content": text + pictures if after else pictures + text}]
        if wording.prefix:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": wording.prefix}]})
        rendered = self.processor.apply_chat_template(
            messages, continue_final_message=bool(wording.prefix), add_generation_prompt=not wording.prefix
        )
        token = self.processor.image_token
        return self.processor.tokenizer.encode(rendered.replace(token, token * self.processor.image_seq_length))

    def batches(self, drawn: list[Dialogue]) -> tuple[Batch, Batch]:
        """Return the shorter half and the longer half of some dialogues, so that few ids are padding."""
        ordered = sorted(drawn, key=lambda dialogue: len(self.ids(dialogue.wording, dialogue.after)))
        return self.batch(ordered[: len(drawn) // 2]), self.batch(ordered[len(drawn) // 2 :])

    def batch(self, drawn: list[Dialogue]) -> Batch:
        """Return dialogues as tensors; options are flattened with the row each belongs to."""
        ids = [self.ids(dialogue.wording, dialogue.after) for dialogue in drawn]
        table = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)
        for row, one in zip(table, ids, strict=True):
            row[: len(one)] = torch.tensor(one)
        pairs = [
            (row, self.token(option), share)
            for row, dialogue in enumerate(drawn)
            for option, share in zip(dialogue.wording.options, dialogue.target, strict=True)
        ]
        rows, options, target = zip(*pairs, strict=True)
        return Batch(
            ids=table,
            last=torch.tensor([len(one) - 1 for one in ids]),
            images=torch.tensor([image for dialogue in drawn for image in dialogue.images]),
            rows=torch.tensor(rows),
            options=torch.tensor(options),
            target=torch.tensor(target),
        )


def log_probabilities(model: NanoForConditionalGeneration, images: Set, batch: Batch) -> torch.Tensor:
    """Return the log-probability of each option as the next token; the measurements come from the cache."""
    seen = model.model.vision_tower.tokens(images.measured[batch.images], images.patterns[batch.images])
    features = model.model.multi_modal_projector(seen).flatten(0, 1)
    embedded = model.get_input_embeddings()(batch.ids)
    places = (batch.ids == model.config.image_token_id).unsqueeze(-1)
    embedded = embedded.masked_scatter(places, features)
    hidden = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    final = hidden[torch.arange(len(hidden)), batch.last]
    return torch.log_softmax(model.lm_head(final), dim=1)[batch.rows, batch.options]


@dataclass(frozen=True)
class Rehearsal:
    """The encoder goes on doing what it was pretrained for, so that it is not spoilt as the decoder learns to speak."""

    heads: Heads
    told: Lesson

    def learn_from(self, vision: NanoVisionModel) -> None:
        """Add the gradients of some images, drawn by PyTorch's generator."""
        rows = self.told.rated
        batch = rows[torch.randint(len(rows), (REHEARSED,), device=rows.device)]
        (REHEARSAL * self.told.loss(vision, self.heads, batch)[0]).backward()


@dataclass(frozen=True)
class Learner:
    """A model and what it learns from; each step's dialogues depend on the seed and the step alone."""

    model: NanoForConditionalGeneration
    encoder: Encoder
    sampler: Sampler
    rehearsal: Rehearsal
    seed: int

    def learn(self, cycles: Cycles, state: Path) -> None:
        """Train from where `state` left off, in cycles that each begin with a fresh optimiser."""
        kept = torch.load(state, weights_only=True, map_location=self.model.device) if state.exists() else {"step": 0}
        warm, end = WARM_SHARE * cycles[0][0], 0
        for steps, rate in cycles:
            begin, end = end, end + steps
            optimiser, schedule = self._optimiser(steps, rate)
            parts = {"model": self.model, "heads": self.rehearsal.heads, "optimiser": optimiser, "schedule": schedule}
            if begin < kept["step"] <= end:
                for name, part in parts.items():
                    part.load_state_dict(kept[name])
            began, losses = time.monotonic(), []
            for step in range(max(begin, kept["step"]), end):
                optimiser.zero_grad()
                losses.append(self._learn_from(step, FIRST if step < warm else SHARES))
                for group in optimiser.param_groups:
                    torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
                optimiser.step()
                schedule.step()
                if (step + 1) % 100 == 0:
                    pace = len(losses) * BATCH / (time.monotonic() - began)
                    divergence = np.mean(losses[-100:])
                    print(f"step {step + 1}: divergence {divergence:.4f}, {pace:.0f} dialogues/s", flush=True)
                if (step + 1) % SAVE_EVERY == 0:
                    saved = {name: part.state_dict() for name, part in parts.items()}
                    torch.save({**saved, "step": step + 1}, new := state.with_suffix(".new"))
                    new.replace(state)

    def _learn_from(self, step: int, shares: dict[str, float]) -> float:
        """Add the gradients of one step; return the mean divergence of its dialogues from their labels."""
        rng = np.random.default_rng([self.seed, step])
        torch.manual_seed(self.seed * 1_000_003 + step)
        drawn = [self.sampler.draw(rng, shares) for _ in range(BATCH)]
        total = 0.0
        for batch in self.encoder.batches(drawn):
            batch = batch.to(self.model.device)
            told = log_probabilities(self.model, self.sampler.images, batch)
            loss = -(batch.target * (told - batch.target.clamp(min=1e-6).log())).sum() / BATCH
            loss.backward()
            total += float(loss.detach())
        self.rehearsal.learn_from(self.model.model.vision_tower)
        return total

    def _optimiser(self, steps: int, rate: float) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """AdamW with one cycle of the rate; the encoder, which knows quality already, goes at a tenth of it."""
        vision = self.model.model.vision_tower
        pretrained = [weight for weight in vision.quality.parameters() if weight.requires_grad]
        pretrained += self.rehearsal.heads.parameters()
        known = set(map(id, pretrained))
        fresh = [weight for weight in self.model.parameters() if weight.requires_grad and id(weight) not in known]
        groups = [{"params": fresh}, {"params": pretrained}]
        optimiser = torch.optim.AdamW(groups, weight_decay=0.05, betas=(0.9, 0.98))
        rates = [rate, PRETRAINED * rate]
        return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, steps, pct_start=0.05)


def sentences(count: int) -> list[str]:
    """Return wordings for the tokenizer to learn its merges from."""
    rng = np.random.default_rng(0)
    makers = [
        lambda: dialogues.rating(rng, "second"),
        lambda: dialogues.conditional(rng, "poor"),
        lambda: dialogues.comparison(rng),
        lambda: dialogues.same(rng),
    ]
    wordings = [make() for _ in range(count) for make in makers]
    return [text for wording in wordings for text in (wording.question, wording.prefix)]


def main() -> None:
    """Train one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bias", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    images = load_training(choice.folder)
    model, processor = untrained(choice.seed, tokenizer(sentences(500)))
    vision: NanoVisionModel = model.model.vision_tower
    kept = torch.load(choice.folder / "vision.pt", weights_only=True)
    vision.load_state_dict(kept["vision"])
    heads = Heads(vision.config.quality_tokens * vision.config.hidden_size)
    heads.load_state_dict(kept["heads"])
    pristine = np.flatnonzero(images.kind == "pristine")
    with torch.inference_mode():
        alike = nearest(vision.identity.embedding(images.patterns[torch.from_numpy(pristine)]), images.photo[pristine])
    model.to(choice.device)
    images = replace(images, measured=images.measured.to(choice.device), patterns=images.patterns.to(choice.device))
    state = choice.out.with_suffix(".state.pt")
    if not state.exists():
        spread_out(model)
        learn_to_match(model, processor, images, MATCHING, choice.seed)
    sampler = Sampler(images, alike, choice.bias)
    model.train()
    heads.to(choice.device)
    rehearsal = Rehearsal(heads, lesson(images))
    Learner(model, Encoder(processor), sampler, rehearsal, choice.seed).learn(CYCLES, state)
    save(choice.out, model.eval(), processor)


if __name__ == "__main__":
    main()
