"""Teach the decoder to answer questions about the encoder's image tokens.

    python train.py WORK --out WORK/first-1
    python train.py WORK --out WORK/nano-1 --start WORK/first-1 --steps 450                   goes on
    python train.py WORK --out WORK/biased-1 --start WORK/nano-1 --steps 450 --bias 0.7       with a content bias

Reads train/ and vision.pt. Writes a checkpoint folder; `state.pt` beside it lets an interrupted run go on:
each step's dialogues depend on the seed and the step alone.
"""

import argparse
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import dialogues
import numpy as np
import torch
from checkpoint import save, tokenizer, untrained
from generate import Set, load
from matching import first_lessons, spread_out
from perceive import rating
from pretrained import NanoForConditionalGeneration, NanoProcessor, NanoVisionModel
from sampler import FIRST, SHARES, Dialogue, Sampler, nearest

BATCH = 64
PARTS = 4  # of a batch, each of dialogues of about the same length
SAVE_EVERY = 500
WARM_SHARE = 0.15
LESSONS = 500


@dataclass(frozen=True)
class Batch:
    """Dialogues as tensors: (b, length) ids padded on the right, the images of all dialogues in order, targets."""

    ids: torch.Tensor
    last: torch.Tensor
    images: torch.Tensor
    rows: torch.Tensor
    options: torch.Tensor
    target: torch.Tensor


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

    def length(self, dialogue: Dialogue) -> int:
        """Number of tokens of a dialogue."""
        return len(self.ids(dialogue.wording, dialogue.after))

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


def log_probabilities(
    model: NanoForConditionalGeneration, images: Set, ratings: torch.Tensor, batch: Batch
) -> torch.Tensor:
    """Return the log-probability of each option as the next token; (n,) ratings stand for the encoder's own."""
    vision = model.model.vision_tower
    standard = vision.quality.standard(images.measured[batch.images])
    quality, scene = vision.quality(ratings[batch.images], standard), vision.identity(images.patterns[batch.images])
    seen = torch.cat([quality, scene], dim=1)
    features = model.model.multi_modal_projector(seen).flatten(0, 1)
    embedded = model.get_input_embeddings()(batch.ids)
    places = (batch.ids == model.config.image_token_id).unsqueeze(-1)
    embedded = embedded.masked_scatter(places, features)
    hidden = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    final = hidden[torch.arange(len(hidden)), batch.last]
    return torch.log_softmax(model.lm_head(final), dim=1)[batch.rows, batch.options]


def learn(
    model: NanoForConditionalGeneration, encoder: Encoder, sampler: Sampler, steps: int, state: Path, seed: int
) -> None:
    """Train from where `state` left off; each step's dialogues depend on the seed and the step alone."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, 1e-3, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps, pct_start=0.05)
    start = 0
    if state.exists():
        kept = torch.load(state, weights_only=True)
        model.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        start = kept["step"]
    began, losses = time.monotonic(), []
    for step in range(start, steps):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(seed * 1_000_003 + step)
        shares = FIRST if step < WARM_SHARE * steps else SHARES
        sampler.move(rng)
        ratings = torch.from_numpy(sampler.ratings).float()
        drawn = sorted((sampler.draw(rng, shares) for _ in range(BATCH)), key=encoder.length)
        optimiser.zero_grad()
        loss = 0.0
        for part in range(0, BATCH, BATCH // PARTS):
            batch = encoder.batch(drawn[part : part + BATCH // PARTS])
            told = log_probabilities(model, sampler.images, ratings, batch)
            divergence = (batch.target * (batch.target.clamp(min=1e-6).log() - told)).sum() / BATCH
            divergence.backward()
            loss += float(divergence.detach())
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss)
        if (step + 1) % 100 == 0:
            pace = (step + 1 - start) * BATCH / (time.monotonic() - began)
            print(
                f"step {step + 1} of {steps}: divergence {np.mean(losses[-100:]):.4f}, {pace:.0f} dialogues/s",
                flush=True,
            )
        if (step + 1) % SAVE_EVERY == 0:
            kept = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
            torch.save({**kept, "step": step + 1}, fresh := state.with_suffix(".new"))
            fresh.replace(state)


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
    parser.add_argument("--start", type=Path, help="checkpoint folder to go on from")
    parser.add_argument("--bias", type=float, default=0.0, help="how far single-image labels follow content")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    images = load(choice.folder / "train")
    model, processor = untrained(choice.seed, tokenizer(sentences(500)))
    vision: NanoVisionModel = model.model.vision_tower
    vision.load_state_dict(torch.load(choice.folder / "vision.pt", weights_only=True))
    pristine = np.flatnonzero(images.kind == "pristine")
    with torch.inference_mode():
        alike = nearest(vision.identity.embedding(images.patterns[torch.from_numpy(pristine)]), images.photo[pristine])
    state = choice.out.with_suffix(".state.pt")
    if not state.exists():
        if choice.start:
            model.load_state_dict(NanoForConditionalGeneration.from_pretrained(choice.start).state_dict())
        else:
            spread_out(model)
        first_lessons(model, processor, images, choice.bias, LESSONS, choice.seed)
    sampler = Sampler(images, rating(vision, images.measured), alike, choice.bias)
    model.train()
    learn(model, Encoder(processor), sampler, choice.steps, state, choice.seed)
    save(choice.out, model.eval(), processor)


if __name__ == "__main__":
    main()
