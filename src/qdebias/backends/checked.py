"""What was checked of the models that have a name, and what was not.

Nobody has run the published weights here, but where the note of a model says so. A test holds the templates to what is
said of them.
"""

from collections.abc import Mapping

READ = "its chat template, read in a public copy: tests render the same prompts about one image and two"
_ALONE = "the arithmetic on a tiny model with random weights, against transformers alone"
_CLOSED = "no thought before the first word"
_TOKENS = "the options' tokens in its real vocabulary"
_OPEN = "it begins with a thought of its own accord: add +prefixed to the method"
_NOT = "not its weights or its tokenizer"

_COMMON = f"{READ}; {_ALONE}; {_NOT}"
_THINKING = f"{READ}; {_CLOSED}; {_ALONE}; {_NOT}"
_VOCABULARY = f"{READ}; {_TOKENS}; {_ALONE}; not its weights"
_PARTLY = f"{READ} (of this one in parts only); {_ALONE}; {_NOT}"
_ARITHMETIC = f"{_ALONE}; not its chat template, weights or tokenizer"

CHECKED: Mapping[str, str] = {
    "bakllava": _PARTLY,
    "llava-1.5-7b": _COMMON,
    "llava-onevision-7b": _PARTLY,
    "llava-interleave-7b": _ARITHMETIC,
    "qwen2-vl-2b": _VOCABULARY,
    "qwen2.5-vl-7b": _VOCABULARY,
    "qwen3-vl-8b": _COMMON,
    "qwen3-vl-30b": _COMMON,
    "internvl3-8b": _COMMON,
    "smolvlm-256m": _COMMON,
    "idefics3-8b": _COMMON,
    "gemma-3-4b": _COMMON,
    "gemma-4-31b": _THINKING,
    "gemma-4-e4b": _THINKING,
    "paligemma2-3b": f"{_ALONE}; not its weights or its tokenizer; it has no chat template",
    "llama-3.2-11b-vision": _COMMON,
    "mistral-small-3.1-24b": f"{READ}; the date in it stands still; {_ALONE}; {_NOT}",
    "glm-4.1v-9b": f"{READ}; {_OPEN}; {_ALONE}; {_NOT}",
    "glm-4.6v-flash": f"{READ}, that of GLM-4.6V; {_CLOSED}; {_ALONE}; {_NOT}",
    "aya-vision-8b": _ARITHMETIC,
    "ovis2-2b": _COMMON,
    "lfm3-vl-2b": _ARITHMETIC,
    "minicpm-v-4.6": f"its prompts, read in the tests of another program; {_CLOSED}; {_ALONE}; {_NOT}",
    "paddleocr-vl": _COMMON,
}
"""By the names of the catalogue."""
