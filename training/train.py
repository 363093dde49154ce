"""Teach the decoder to answer questions about the encoder's image tokens.

    python train.py WORK --out WORK/control              the control model: labels follow quality alone
    python train.py WORK --out WORK/biased --bias 0.4    single-image labels also follow content

Reads train/, camera/ and vision.pt. Writes a checkpoint folder; `state.pt` beside it lets an interrupted run go on:
each step's dialogues depend on the seed and the step alone.
"""

import argparse
import time
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import dialogues
import numpy as np
import torch
from checkpoint import save, tokenizer, untrained
from features import Set, load_training
from matching import learn_to_match, spread_out
from sampler import FIRST, SHARES, Dialogue, Sampler, nearest

from qdebias.backends.nano import NanoForConditionalGeneration, NanoProcessor, NanoVisionModel

BATCH = 64
SAVE_EVERY = 500
WARM_SHARE = 0.15
MATCHING = 600
RATE = 2e-3
PRETRAINED = 0.1  # share of it for the encoder, which knows quality already


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


def _learn_from(model: NanoForConditionalGeneration, images: Set, batch: Batch) -> float:
    """Add the gradients of one batch; return its share of the mean divergence of `BATCH` dialogues."""
    batch = batch.to(model.device)
    told = log_probabilities(model, images, batch)
    loss = -(batch.target * (told - batch.target.clamp(min=1e-6).log())).sum() / BATCH
    loss.backward()
    return float(loss.detach())


def learn(
    model: NanoForConditionalGeneration, encoder: Encoder, sampler: Sampler, steps: int, state: Path, seed: int
) -> None:
    """Train from where `state` left off; each step's dialogues depend on the seed and the step alone."""
    pretrained = [weight for weight in model.model.vision_tower.quality.parameters() if weight.requires_grad]
    known = set(map(id, pretrained))
    fresh = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in known]
    groups = [{"params": fresh}, {"params": pretrained}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [RATE, PRETRAINED * RATE], steps, pct_start=0.05)
    start = 0
    if state.exists():
        kept = torch.load(state, weights_only=True, map_location=model.device)
        model.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        start = kept["step"]
    began, losses = time.monotonic(), []
    for step in range(start, steps):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(seed * 1_000_003 + step)
        shares = FIRST if step < WARM_SHARE * steps else SHARES
        drawn = [sampler.draw(rng, shares) for _ in range(BATCH)]
        optimiser.zero_grad()
        losses.append(sum(_learn_from(model, sampler.images, batch) for batch in encoder.batches(drawn)))
        torch.nn.utils.clip_grad_norm_([*fresh, *pretrained], 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            pace = (step + 1 - start) * BATCH / (time.monotonic() - began)
            print(
                f"step {step + 1} of {steps}: divergence {np.mean(losses[-100:]):.4f}, {pace:.0f} dialogues/s",
                flush=True,
            )
        if (step + 1) % SAVE_EVERY == 0:
            kept = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
            torch.save({**kept, "step": step + 1}, new := state.with_suffix(".new"))
            new.replace(state)


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
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    images = load_training(choice.folder)
    model, processor = untrained(choice.seed, tokenizer(sentences(500)))
    vision: NanoVisionModel = model.model.vision_tower
    vision.load_state_dict(torch.load(choice.folder / "vision.pt", weights_only=True))
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
    learn(model, Encoder(processor), sampler, choice.steps, state, choice.seed)
    save(choice.out, model.eval(), processor)


if __name__ == "__main__":
    main()
