#!/usr/bin/env bash
# Expected: transformers loads a checkpoint in several safetensors files whose index holds the map from
# names to files and no "metadata", which is needed for nothing: it says how large the files are together.
#
# Actual: KeyError: 'metadata', with no word of which file lacks what. With an empty "metadata" the
# model loads, and also if the index leaves out names that the files hold.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
import pathlib

import transformers
from safetensors.torch import save_file

transformers.utils.logging.disable_progress_bar()
config = transformers.LlamaConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=64
)
model = transformers.LlamaForCausalLM(config)
weights = {name: value.contiguous() for name, value in model.state_dict().items()}
names = sorted(weights)
folder = pathlib.Path("checkpoint")
config.architectures = ["LlamaForCausalLM"]
config.save_pretrained(folder)
files = {"1.safetensors": names[:5], "2.safetensors": names[5:]}
for file, held in files.items():
    save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
weight_map = {name: file for file, held in files.items() for name in held}


def load(index: dict) -> str:
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    try:
        _, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    except KeyError as error:
        return f"KeyError {error}"
    return f"loads, {len(report['missing_keys'])} missing"


short = {name: file for name, file in weight_map.items() if "up_proj" not in name}
seen = {
    "no metadata": load({"weight_map": weight_map}),
    "empty metadata": load({"metadata": {}, "weight_map": weight_map}),
    "empty metadata, a name left out": load({"metadata": {}, "weight_map": short}),
}
print("transformers", transformers.__version__)
for case, result in seen.items():
    print(f"{case}: {result}")
if list(seen.values()) != ["KeyError 'metadata'", "loads, 0 missing", "loads, 0 missing"]:
    raise SystemExit("changed")
PYTHON
