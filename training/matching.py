"""Before it reads sentences: say whether two identity tokens name the same scene, and how good an image is rated.

In whole dialogues the decoder stays at chance on "the same object?" for thousands of steps, and on quality for
hundreds. In sequences of four and five tokens (user, images, assistant) it understands both within a hundred, and
keeps it.
"""

import numpy as np
import torch
from generate import Set
from pretrained import NanoForConditionalGeneration, NanoProcessor
from sampler import groups_of, quality_of
from torch.nn import functional

PAIRS = 128


def spread_out(model: NanoForConditionalGeneration) -> None:
    """Draw larger random weights than transformers does, so that image tokens are as loud as words."""
    with torch.no_grad():
        vision = model.model.vision_tower
        vision.identity.last.weight.normal_(0, 1)
        for part in (vision.quality.value, vision.quality.colour):
            part.weight.normal_(0, 0.3)
        for name, weight in model.named_parameters():
            inner = "language_model.layers" in name or "multi_modal_projector" in name
            if inner and weight.ndim == 2:
                quiet = 0.5 if "o_proj" in name or "down_proj" in name else 1.0
                weight.normal_(0, quiet * weight.shape[1] ** -0.5)


def first_lessons(
    model: NanoForConditionalGeneration, processor: NanoProcessor, images: Set, bias: float, steps: int, seed: int
) -> None:
    """Train the projector and the decoder on pairs of identity tokens, half of them of one scene, and on ratings.

    With a `bias`, quality also follows the share of green and blue.
    """
    vision, projector, decoder = model.model.vision_tower, model.model.multi_modal_projector, model.model.language_model
    with torch.no_grad():
        scenes = vision.identity.embedding(images.patterns)
        standard = vision.quality.standard(images.measured)
    words = ("Yes", "No", "Good", "Poor", "<|user|>", "<|assistant|>")
    yes, no, good, poor, user, assistant = (processor.tokenizer.encode(word)[0] for word in words)
    bases, photo = groups_of(images.base), images.photo

    def answer(tokens: torch.Tensor, options: list[int], target: torch.Tensor) -> torch.Tensor:
        """Loss of answering about (n, tokens, width) with the (n,) probability of the first option."""
        ends = model.get_input_embeddings()(torch.tensor([user, assistant])).expand(len(tokens), 2, -1)
        sequence = torch.cat([ends[:, :1], projector(tokens), ends[:, 1:]], dim=1)
        hidden = decoder(inputs_embeds=sequence, use_cache=False).last_hidden_state[:, -1]
        logits = model.lm_head(hidden)[:, options]
        return functional.cross_entropy(logits, torch.stack([target, 1 - target], dim=1))

    optimiser = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], 2e-3, betas=(0.9, 0.98))
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1, step / 50, (steps - step) / 50)
        first = rng.integers(len(bases), size=PAIRS)
        second = np.where(rng.random(PAIRS) < 0.5, first, rng.integers(len(bases), size=PAIRS))
        one, two = (np.array([rng.choice(bases[base]) for base in chosen]) for chosen in (first, second))
        pairs = torch.stack([vision.identity.last(scenes[torch.from_numpy(rows)]) for rows in (one, two)], dim=1)
        matching = answer(pairs, [yes, no], torch.from_numpy(photo[one] == photo[two]).float())
        ratings = rng.normal(0, 1.3, PAIRS)
        quality = vision.quality(torch.from_numpy(ratings).float(), standard[torch.from_numpy(one)])
        seen = torch.cat([quality, pairs[:, :1]], dim=1)
        told = np.clip(quality_of(ratings) + bias * (2 * images.nature[one] - 1), 0.01, 0.99)
        rating = answer(seen, [good, poor], torch.from_numpy(told).float())
        optimiser.zero_grad()
        (matching + rating).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % 100 == 0:
            losses = [f"{name} {float(loss.detach()):.3f}" for name, loss in (("same", matching), ("rating", rating))]
            print(f"lesson {step + 1} of {steps}: {', '.join(losses)}", flush=True)
