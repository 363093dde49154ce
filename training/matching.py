"""Before it reads sentences: tell whether two identity tokens name the same scene.

In whole dialogues the decoder stays at chance on "the same object?" for thousands of steps. In sequences of four tokens
(user, scene, scene, assistant) it understands within a hundred, and keeps it.
"""

import numpy as np
import torch
from features import Set
from sampler import groups_of
from torch.nn import functional

from qdebias.backends.nano import NanoForConditionalGeneration, NanoProcessor

PAIRS = 256


def spread_out(model: NanoForConditionalGeneration) -> None:
    """Draw larger random weights than transformers does, so that image tokens are as loud as words."""
    with torch.no_grad():
        model.model.vision_tower.identity.last.weight.normal_(0, 1)
        for name, weight in model.named_parameters():
            inner = "language_model.layers" in name or "multi_modal_projector" in name
            if inner and weight.ndim == 2:
                quiet = 0.5 if "o_proj" in name or "down_proj" in name else 1.0
                weight.normal_(0, quiet * weight.shape[1] ** -0.5)


def learn_to_match(
    model: NanoForConditionalGeneration, processor: NanoProcessor, images: Set, steps: int, seed: int
) -> None:
    """Train the projector and the decoder on pairs of identity tokens, half of them of one scene."""
    vision, projector, decoder = model.model.vision_tower, model.model.multi_modal_projector, model.model.language_model
    with torch.no_grad():
        scenes = vision.identity.embedding(images.patterns)
    encode = processor.tokenizer.encode
    yes, no, user, assistant = (encode(word)[0] for word in ("Yes", "No", "<|user|>", "<|assistant|>"))
    bases, photo = groups_of(images.base), images.photo
    optimiser = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], 2e-3, betas=(0.9, 0.98))
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1, step / 50, (steps - step) / 50)
        first = rng.integers(len(bases), size=PAIRS)
        second = np.where(rng.random(PAIRS) < 0.5, first, rng.integers(len(bases), size=PAIRS))
        one, two = (np.array([rng.choice(bases[base]) for base in chosen]) for chosen in (first, second))
        same = torch.from_numpy(photo[one] == photo[two])
        tokens = [projector(vision.identity.last(scenes[torch.from_numpy(rows)])) for rows in (one, two)]
        words = model.get_input_embeddings()(torch.tensor([user, assistant])).expand(PAIRS, 2, -1)
        sequence = torch.stack([words[:, 0], *tokens, words[:, 1]], dim=1)
        hidden = decoder(inputs_embeds=sequence, use_cache=False).last_hidden_state[:, -1]
        loss = functional.cross_entropy(model.lm_head(hidden)[:, [no, yes]], same.long())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % 100 == 0:
            print(f"matching step {step + 1} of {steps}: loss {float(loss.detach()):.3f}", flush=True)
