#!/usr/bin/env bash
# Expected: bicubic enlarging with the same kernel (a = -0.5) gives the same image everywhere, to one
# level of rounding; shrinking with anti-aliasing does.
#
# Actual: JAX, ONNX Runtime on floats and torch on floats agree, and differ from Pillow by up to 19
# levels of 255. The kernel overshoots at edges; Pillow resizes 8-bit images in two passes and cuts off at 0
# and 255 after each, so what overshoots in the first pass is gone before the second could bring it back.
# torch and ONNX Runtime on 8-bit integers do as Pillow does. Which of a model's two image processors one has,
# on floats or on bytes, thus changes its pixels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 torch==2.13.0 jax==0.10.2 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import jax
import numpy as np
import onnx
import onnxruntime
import PIL
import torch
from onnx import TensorProto, helper
from PIL import Image

noise = np.random.default_rng(0).integers(0, 256, (96, 144, 3), np.uint8)


def in_torch(height: int, width: int, pixels: torch.Tensor) -> np.ndarray:
    resized = torch.nn.functional.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def in_onnx(height: int, width: int, pixels: np.ndarray) -> np.ndarray:
    kind = TensorProto.FLOAT if pixels.dtype == np.float32 else TensorProto.UINT8
    keywords = {"mode": "cubic", "antialias": 1, "cubic_coeff_a": -0.5, "exclude_outside": 1}
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "", "size"], ["y"], **keywords)],
        "resize",
        [helper.make_tensor_value_info("x", kind, pixels.shape)],
        [helper.make_tensor_value_info("y", kind, [1, 3, height, width])],
        [helper.make_tensor("size", TensorProto.INT64, [4], [1, 3, height, width])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": pixels})[0][0].transpose(1, 2, 0)


def levels_off(height: int, width: int) -> dict[str, int]:
    want = np.asarray(Image.fromarray(noise).resize((width, height), Image.BICUBIC)).astype(int)
    bytes_first = np.ascontiguousarray(noise.transpose(2, 0, 1)[None])
    floats_first = bytes_first.astype(np.float32)
    resized = {
        "jax floats": np.asarray(jax.image.resize(noise.astype(np.float32), (height, width, 3), "bicubic")),
        "torch floats": in_torch(height, width, torch.from_numpy(floats_first)),
        "torch bytes": in_torch(height, width, torch.from_numpy(bytes_first)),
        "onnxruntime floats": in_onnx(height, width, floats_first),
        "onnxruntime bytes": in_onnx(height, width, bytes_first),
    }
    return {who: int(abs(np.clip(np.round(got), 0, 255) - want).max()) for who, got in resized.items()}


print("Pillow", PIL.__version__, "torch", torch.__version__, "jax", jax.__version__, "onnxruntime", onnxruntime.__version__)
smaller, larger = levels_off(37, 53), levels_off(200, 300)
print("levels off Pillow, 144 x 96 to 53 x 37:", smaller)
print("levels off Pillow, 144 x 96 to 300 x 200:", larger)
floats = {off for who, off in larger.items() if "floats" in who}
integers = {off for who, off in larger.items() if "bytes" in who}
if max(smaller.values()) > 1 or max(integers) > 1 or floats != {19}:
    raise SystemExit("changed")
PYTHON
