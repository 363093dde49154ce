#!/usr/bin/env bash
# Expected: `apply_chat_template` refuses a keyword that neither it nor the template knows, as any Python
# function does with a misspelt one, and enable_thinking="false", as it comes from a command line or a form, is
# false or refused.
#
# Actual: whatever is not a keyword of its own becomes a variable of the template, unused or not. With
# add_generation_promt=True (one letter short) the prompt silently ends before the model's turn, and the model
# is asked something else. "false" is text that is not empty, so that it is true: it switches thoughts on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 jinja2==3.1.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

TEMPLATE = (
    "{% for message in messages %}<user>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if enable_thinking %}<think>{% endif %}{% endif %}"
)
words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, chat_template=TEMPLATE)


def prompt(**keywords: object) -> str:
    return tokenizer.apply_chat_template([{"role": "user", "content": "Good?"}], tokenize=False, **keywords)


right = prompt(add_generation_prompt=True)
misspelt = prompt(add_generation_promt=True)
false = prompt(add_generation_prompt=True, enable_thinking="false")
print("transformers", transformers.__version__)
print("add_generation_prompt=True:", right)
print("add_generation_promt=True:", misspelt)
print('enable_thinking="false":', false)
if (right, misspelt, false) != ("<user>Good?<assistant>", "<user>Good?", "<user>Good?<assistant><think>"):
    raise SystemExit("changed")
PYTHON
