"""Qwen-VL the plain way, one prompt at a time in bare arithmetic: the reference for everything that is shared."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F  # noqa: N812

from contract import QUALITY, SAME, assert_same_choices, encode, pair, picture
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.rows import Row, batch_of, rows_of
from qdebias.backends.qwen_vl.modeling import QwenVLConfig
from qdebias.image import RgbImage
from qdebias.prompts import Placement, Request
from test_qwen_vl_checkpoint import checkpoint, load

Weights = dict[str, torch.Tensor]

TRAINED = (2048, 700, 96)
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Lengths after which positions are stretched: never here, for some prompts of a row and not for others, always."""

BACKENDS = {trained: load(checkpoint(trained=trained)) for trained in TRAINED}


def attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Return (L, heads * head) from (L, heads, head), (S, heads, head) twice."""
    scores = torch.einsum("lhd,shd->hls", queries, keys) / math.sqrt(queries.shape[-1])
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
    return torch.einsum("hls,shd->lhd", scores.softmax(-1), values).flatten(1)


def norm(weights: Weights, name: str, hidden: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(hidden, hidden.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)


def linear(weights: Weights, name: str, hidden: torch.Tensor) -> torch.Tensor:
    return F.linear(hidden, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def enlarged(positions: torch.Tensor, side: int) -> torch.Tensor:
    square = positions.reshape(16, 16, -1).permute(2, 0, 1)[None]
    grown = F.interpolate(square, size=(side, side), mode="bicubic", align_corners=False)
    return grown[0].permute(1, 2, 0).reshape(side * side, -1)


def image_tokens(weights: Weights, config: QwenVLConfig, image: RgbImage) -> torch.Tensor:
    """Return (256, hidden)."""
    visual = config.visual or {}
    patch, side = visual["patch_size"], visual["image_size"] // visual["patch_size"]
    small = Image.fromarray(image).resize((visual["image_size"],) * 2, Image.Resampling.BICUBIC)
    pixels = torch.tensor((np.asarray(small, dtype=np.float32) / 255 - np.float32(MEAN)) / np.float32(DEVIATION))
    at = "transformer.visual."
    cut = pixels.permute(2, 0, 1).unfold(1, patch, patch).unfold(2, patch, patch)
    hidden = cut.permute(1, 2, 0, 3, 4).reshape(side * side, -1) @ weights[f"{at}conv1.weight"].flatten(1).T
    hidden = norm(weights, f"{at}ln_pre", hidden + enlarged(weights[f"{at}positional_embedding"], side))
    for layer in range(visual["layers"]):
        block = f"{at}transformer.resblocks.{layer}."
        heads = linear(weights, f"{block}attn.in_proj", norm(weights, f"{block}ln_1", hidden))
        query, key, value = heads.reshape(side * side, visual["heads"], 3, -1).unbind(2)
        hidden = hidden + linear(weights, f"{block}attn.out_proj", attention(query, key, value, causal=False))
        inner = F.gelu(linear(weights, f"{block}mlp.c_fc", norm(weights, f"{block}ln_2", hidden)))
        hidden = hidden + linear(weights, f"{block}mlp.c_proj", inner)
    pool, positions = f"{at}attn_pool.", weights[f"{at}attn_pool.pos_embed"]
    values = norm(weights, f"{pool}ln_kv", linear(weights, f"{pool}kv_proj", hidden))
    queries = norm(weights, f"{pool}ln_q", weights[f"{pool}query"]) + positions
    read = [
        (states @ matrix.T + bias).reshape(len(states), -1, 128)
        for states, matrix, bias in zip(
            (queries, values + enlarged(positions, side), values),
            weights[f"{pool}attn.in_proj_weight"].chunk(3),
            weights[f"{pool}attn.in_proj_bias"].chunk(3),
            strict=True,
        )
    ]
    pooled = linear(weights, f"{pool}attn.out_proj", attention(read[0], read[1], read[2], causal=False))
    return norm(weights, f"{at}ln_post", pooled) @ weights[f"{at}proj"]


def rms(weights: Weights, name: str, hidden: torch.Tensor) -> torch.Tensor:
    return hidden / (hidden.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weights[f"{name}.weight"]


def turned(states: torch.Tensor, alpha: float, theta: float) -> torch.Tensor:
    """Rotate (L, heads, head) by the index in the sequence, as complex numbers."""
    length, _, head = states.shape
    base = theta * alpha ** (head / (head - 2))
    angles = torch.arange(length)[:, None] * base ** -(torch.arange(head // 2) * 2 / head)
    numbers = torch.complex(*states.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angles), angles)[:, None]
    return torch.cat([numbers.real, numbers.imag], dim=-1)


@torch.inference_mode()
def plain_logits(backend: HfBackend, ids: list[int], images: tuple[RgbImage, ...]) -> torch.Tensor:
    """Return the (vocabulary,) logits at the end of one prompt; every image is encoded anew."""
    weights, config = backend.model.state_dict(), backend.model.config
    hidden = weights["transformer.wte.weight"][ids]
    starts = [place for place, token in enumerate(ids) if token == config.image_token_id - 2]
    for start, image in zip(starts, images, strict=True):
        hidden[start + 1 : start + 257] = image_tokens(weights, config, image)
    length = len(hidden)
    alpha = max(2 ** math.ceil(math.log2(length / config.seq_length) + 1) - 1, 1)
    grown = torch.tensor([max(math.log(place + 1, config.seq_length), 1.0) for place in range(length)])[:, None, None]
    for layer in range(config.num_hidden_layers):
        block = f"transformer.h.{layer}."
        joint = linear(weights, f"{block}attn.c_attn", rms(weights, f"{block}ln_1", hidden))
        query, key, value = (part.reshape(length, config.num_attention_heads, -1) for part in joint.chunk(3, dim=-1))
        query, key = turned(query, alpha, config.rotary_emb_base) * grown, turned(key, alpha, config.rotary_emb_base)
        hidden = hidden + linear(weights, f"{block}attn.c_proj", attention(query, key, value, causal=True))
        normed = rms(weights, f"{block}ln_2", hidden)
        gate = F.silu(linear(weights, f"{block}mlp.w2", normed))
        hidden = hidden + linear(weights, f"{block}mlp.c_proj", linear(weights, f"{block}mlp.w1", normed) * gate)
    return linear(weights, "lm_head", rms(weights, "transformer.ln_f", hidden[-1]))


PLACEMENTS: tuple[Placement, ...] = ("before", "after")

LONG = replace(QUALITY, text=QUALITY.text + " Look at the details of both before you answer, please." * 3)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_shared_way_equals_the_plain_way(data: st.DataObject) -> None:
    backend = BACKENDS[data.draw(st.sampled_from(TRAINED))]
    backend._tokens.size = data.draw(st.sampled_from([1, 1500, 8192]))
    backend._images.size = data.draw(st.integers(1, 3))
    side = st.integers(32, 120)
    requests = []
    for _ in range(data.draw(st.integers(1, 3))):
        count = data.draw(st.integers(1, 3))
        images = tuple(picture(data.draw(st.integers(0, 3)), data.draw(side), data.draw(side)) for _ in range(count))
        questions = tuple(data.draw(st.permutations([QUALITY, SAME, LONG]))[: data.draw(st.integers(1, 3))])
        placement: Placement = data.draw(st.sampled_from(["before", "after"]))
        requests.append(Request(images=images, questions=questions, placement=placement))
    for request, answers in zip(requests, backend.last_logits(requests), strict=True):
        for encoding, got in zip(encode(backend, [request])[0], answers, strict=True):
            want = plain_logits(backend, encoding.ids.tolist(), request.images)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
            assert_same_choices(got, np.asarray(want))


def rows_in(backend: HfBackend, request: Request) -> list[Row]:
    """Return the rows that the questions of a request are run in."""
    return rows_of(backend.prepare(request), ((0, 0), (1, 0)), backend.model)


def test_questions_share_a_row_only_where_that_is_exact() -> None:
    before, after = (replace(pair(1, 2, placement), questions=(QUALITY, SAME, LONG)) for placement in PLACEMENTS)
    lengths = [len(encoding.ids) for encoding in encode(BACKENDS[2048], [before])[0]]
    assert max(lengths[:2]) < 700 < lengths[2], "the length after which positions are stretched lies between them"
    rows = {trained: rows_in(backend, before) for trained, backend in BACKENDS.items()}
    assert [len(row.reads) for row in rows[2048]] == [3]
    assert [len(row.reads) for row in rows[700]] == [2, 1]
    (row,) = rows[2048]
    common = int((row.branches == 0).sum())
    assert common > torch.where(row.arrays["input_ids"][0] == BACKENDS[2048].image_token)[0].max()
    assert len(row.branches) == common + sum(length - common for length in lengths)
    batch = batch_of([row], BACKENDS[2048].model.config, torch.float32)
    assert [int(batch["position_ids"][0, 0, index]) for index in row.reads] == [length - 1 for length in lengths]
    assert len(rows_in(BACKENDS[2048], after)) == 3


@pytest.mark.parametrize("trained", TRAINED)
def test_length_tricks_matter_where_they_are_active(trained: int) -> None:
    ((logits, _),) = BACKENDS[trained].last_logits([pair(1, 2)])
    ((usual, _),) = BACKENDS[2048].last_logits([pair(1, 2)])
    assert (np.abs(logits - usual).max() > 1e-2) == (trained == 96)
