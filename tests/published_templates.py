"""What published chat templates do, model by model, done by templates in our own words.

The originals were read in public copies in November 2026; where a copy names the revision of the model, so does the
entry. Each entry says what the original does with one question about images and with the beginning of a reply, and has
a template that does the same; what it renders otherwise (tools, videos, earlier turns) is left out. The expected prompt
is written down on its own, by hand.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Published:
    """One model's template.

    Attributes:
        does: What the original does that matters here.
        template: One that does the same.
        start: What stands before the images.
        image: What stands for one image; {n} is its number, from 1 on.
        between: What stands between two images besides.
        gap: What stands between the last image and the question besides.
        end: What stands between the question and the reply.
        lead: White space that belongs to the first word of a reply.
        token: The placeholder of an image as its processor calls it.
        revision: Of the model, where it is known.
        first: Whether images stand before the question whatever the order of the parts.
    """

    does: str
    template: str
    start: str
    image: str
    end: str
    between: str = ""
    gap: str = ""
    lead: str = ""
    token: str = "<image>"  # noqa: S105
    revision: str = ""
    first: bool = False


def loop(user: str, assistant: str, ending: str = "") -> str:
    """Return a template of turns."""
    return (
        "{%- for turn in messages %}{%- if turn.role == 'user' %}"
        + user
        + "{%- else %}"
        + assistant
        + "{%- endif %}{%- endfor %}"
        + ("{%- if add_generation_prompt %}" + ending + "{%- endif %}" if ending else "")
    )


def parts(image: str, text: str = "part.text", content: str = "turn.content") -> str:
    """Return the part of a template that writes images and text in their order."""
    shown = f"{{%- if part.type == 'image' %}}{{{{- {image} }}}}{{%- else %}}{{{{- {text} }}}}{{%- endif %}}"
    return f"{{%- for part in {content} %}}{shown}{{%- endfor %}}"


def images_first(image: str, text: str) -> str:
    """Return the part of a template that writes all images, then all text."""
    images = f"{{%- for part in turn.content if part.type == 'image' %}}{{{{- {image} }}}}{{%- endfor %}}"
    return images + f"{{%- for part in turn.content if part.type == 'text' %}}{{{{- {text} }}}}{{%- endfor %}}"


def either(listed: str, text: str = "turn.content") -> str:
    """Return the part of a template that takes a string as well as a list."""
    return f"{{%- if turn.content is string %}}{{{{- {text} }}}}{{%- else %}}{listed}{{%- endif %}}"


def chatml(image: str, *, thought: str = "", system: str = "", text: str = "part.text", opened: str = "") -> str:
    """Return a template of ChatML that writes a thought before each reply and another before its own."""
    turn = "{{- '<|im_start|>' + turn.role + '\\n' }}"
    content = either(parts(image, text), text.replace("part.text", "turn.content")) + "{{- '<|im_end|>\\n' }}"
    reply = turn + (f"{{{{- '{thought}' }}}}" if thought else "") + content
    return (f"{{{{- '{system}' }}}}" if system else "") + loop(
        turn + content, reply, "{{- '<|im_start|>assistant\\n' }}" + opened
    )


QWEN_IMAGE = "('Picture ' ~ loop.index ~ ': ' if add_vision_id else '') ~ '<|vision_start|><|image_pad|><|vision_end|>'"
EMPTY = "<think>\\n\\n</think>\\n\\n"
HYBRID = f"{{{{- '{EMPTY}' if enable_thinking is defined and enable_thinking is false else '<think>\\n' }}}}"
QWEN = {"image": "<|vision_start|><|image_pad|><|vision_end|>", "token": "<|image_pad|>"}
CHATML = {"start": "<|im_start|>user\n", "end": "<|im_end|>\n<|im_start|>assistant\n"}
IDEFICS = Published(
    does="writes a space behind the role only where the turn begins with text, and none where a reply is generated; "
    "takes lists of parts alone",
    template="{{- '<|im_start|>' }}"
    + loop(
        "{{- 'User' ~ (':' if turn.content[0].type == 'image' else ': ') }}"
        + parts("'<image>'")
        + "{{- '<end_of_utterance>\\n' }}",
        "{{- 'Assistant' ~ (':' if turn.content[0].type == 'image' else ': ') }}"
        + parts("'<image>'")
        + "{{- '<end_of_utterance>\\n' }}",
        "{{- 'Assistant:' }}",
    ),
    start="<|im_start|>User:",
    image="<image>",
    end="<end_of_utterance>\nAssistant:",
    lead=" ",
)
QWEN2 = Published(
    does="writes a system message of its own where there is none; numbers images on request (add_vision_id)",
    template=chatml(QWEN_IMAGE, system="<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n"),
    start="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    end=CHATML["end"],
    **QWEN,
)
QWEN3_6 = Published(
    does="opens a thought where a reply is generated, or an empty one where enable_thinking is false; an empty one "
    "stands before the last reply; trims contents; numbers images on request",
    template=chatml(QWEN_IMAGE, thought=EMPTY, text="part.text | trim", opened=HYBRID),
    start="<|im_start|>user\n",
    end="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    **QWEN,
)


def gemma4(*, thought: bool) -> Published:
    """Return the template of a Gemma 4, the larger of which write an empty thought where a reply is generated."""
    empty = "<|channel>thought\n<channel|>" if thought else ""
    said = "{%- if not enable_thinking %}{{- '<|channel>thought\\n<channel|>' }}{%- endif %}" if thought else ""
    shown = parts("'<|image|>'", "part.text | trim")
    reply = either(
        parts("'<|image|>'", "part.text.split('<channel|>') | last | trim"),
        "turn.content.split('<channel|>') | last | trim",
    )
    return Published(
        does="trims contents and cuts thoughts out of replies; a system turn with <|think|> where thinking is enabled"
        + ("; else an empty thought where a reply is generated, and only there" if thought else ""),
        template="{{- bos_token }}{%- if enable_thinking %}{{- '<|turn>system\\n<|think|>\\n<turn|>\\n' }}{%- endif %}"
        + loop(
            "{{- '<|turn>user\\n' }}" + either(shown, "turn.content | trim") + "{{- '<turn|>\\n' }}",
            "{{- '<|turn>model\\n' }}" + reply + "{{- '<turn|>\\n' }}",
            "{{- '<|turn>model\\n' }}" + said,
        ),
        start="<s><|turn>user\n",
        image="<|image|>",
        end=f"<turn|>\n<|turn>model\n{empty}",
        token="<|image|>",  # noqa: S106
    )


PUBLISHED = {
    "llava-1.5-7b": Published(
        does="writes all images first, each with a line break, and a space behind every text; a reply has a space "
        "before it that the generation prompt has not; takes lists of parts alone",
        template=loop(
            "{{- 'USER: ' }}" + images_first("'<image>\\n'", "part.text + ' '"),
            "{{- 'ASSISTANT: ' }}" + images_first("'<image>\\n'", "part.text + ' '"),
            "{{- 'ASSISTANT:' }}",
        ),
        start="USER: ",
        image="<image>\n",
        end=" ASSISTANT:",
        lead=" ",
        first=True,
    ),
    "bakllava": Published(
        does="has no generation prompt; reads the first part of a reply, and writes a space before it",
        template="{{- bos_token }}"
        + loop(
            "{{- '[INST] ' }}" + parts("'<image>\\n'") + "{{- ' [/INST]' }}",
            "{{- ' ' + turn.content[0].text + '<\\\\s> ' }}",
        ),
        start="<s>[INST] ",
        image="<image>\n",
        end=" [/INST]",
        lead=" ",
    ),
    "llava-onevision-7b": Published(
        does="writes all images first; a turn is headed by its role and a space, then a line break, while the "
        "generation prompt has no space; takes lists of parts alone",
        template=loop(
            "{{- '<|im_start|>user ' }}" + images_first("'<image>'", "'\\n' + part.text") + "{{- '<|im_end|>' }}",
            "{{- '<|im_start|>assistant ' }}" + images_first("'<image>'", "'\\n' + part.text") + "{{- '<|im_end|>' }}",
            "{{- '<|im_start|>assistant\\n' }}",
        ),
        start="<|im_start|>user ",
        image="<image>",
        gap="\n",
        end="<|im_end|><|im_start|>assistant\n",
        first=True,
    ),
    "llava-interleave-7b": Published(
        does="as that of LLaVA-OneVision, with a line break behind the role and behind the turn; a reply begins on a "
        "new line, which the generation prompt has not; read in a copy of the 0.5B",
        template=loop(
            "{{- '<|im_start|>user\\n' }}" + images_first("'<image>'", "'\\n' + part.text") + "{{- '<|im_end|>\\n' }}",
            "{{- '<|im_start|>assistant\\n' }}" + images_first("''", "'\\n' + part.text") + "{{- '<|im_end|>\\n' }}",
            "{{- '<|im_start|>assistant\\n' }}",
        ),
        image="<image>",
        gap="\n",
        first=True,
        **CHATML,
    ),
    "llava-1.6-mistral-7b": Published(
        does="as that of BakLLaVA, but writes all images first and no start token, which the tokenizer adds",
        template=loop(
            "{{- '[INST] ' }}" + images_first("'<image>\\n'", "part.text") + "{{- ' [/INST]' }}",
            "{{- ' ' + turn.content[0].text + '<\\\\s> ' }}",
        ),
        start="[INST] ",
        image="<image>\n",
        end=" [/INST]",
        lead=" ",
        first=True,
    ),
    "llava-next-video-7b": Published(
        does="as that of LLaVA-1.5; the role of a turn is written in capitals, whatever it is",
        template=loop(
            "{{- turn.role.upper() + ': ' }}" + images_first("'<image>\\n'", "part.text + ' '"),
            "{{- turn.role.upper() + ': ' }}" + images_first("'<image>\\n'", "part.text + ' '"),
            "{{- 'ASSISTANT:' }}",
        ),
        start="USER: ",
        image="<image>\n",
        end=" ASSISTANT:",
        lead=" ",
        first=True,
    ),
    "janus-pro-1b": Published(
        does="writes a line break between an image and what stands beside it, so two between two images; trims the "
        "ends of a turn; a reply has a space before it that the generation prompt has not; no system message",
        template=loop(
            "{{- '<|User|>: ' }}"
            "{%- for part in turn.content %}{%- if part.type == 'image' %}"
            "{{- ('' if loop.first else '\\n') ~ '<image_placeholder>' ~ ('' if loop.last else '\\n') }}"
            "{%- else %}{{- part.text | trim }}{%- endif %}{%- endfor %}"
            "{{- '\\n\\n' if add_generation_prompt or not loop.last }}",
            "{{- '<|Assistant|>: ' ~ turn.content[0].text | trim }}",
            "{{- '<|Assistant|>:' }}",
        ),
        start="<|User|>: ",
        image="<image_placeholder>\n",
        between="\n",
        end="\n\n<|Assistant|>:",
        lead=" ",
        token="<image_placeholder>",  # noqa: S106
    ),
    "deepseek-vl-1.3b": Published(
        does="writes a system text of its own, and nothing between images and text; trims a turn; a reply has a space "
        "before it that the generation prompt has not; takes lists of parts alone",
        template="{{- 'You see pictures.\\n\\n' }}"
        + loop(
            "{{- 'User: ' }}" + parts("'<image_placeholder>'", "part.text | trim") + "{{- '\\n\\n' }}",
            "{{- 'Assistant: ' + turn.content[0].text | trim }}",
            "{{- 'Assistant:' }}",
        ),
        start="You see pictures.\n\nUser: ",
        image="<image_placeholder>",
        end="\n\nAssistant:",
        lead=" ",
        token="<image_placeholder>",  # noqa: S106
    ),
    "aria": Published(
        does="ChatML without a system message; an image stands between two marks of code completion",
        template=chatml("'<fim_prefix><|img|><fim_suffix>'"),
        image="<fim_prefix><|img|><fim_suffix>",
        token="<|img|>",  # noqa: S106
        **CHATML,
    ),
    "emu3-chat": Published(
        does="as that of LLaVA-1.5, without a line break behind an image",
        template=loop(
            "{{- turn.role.upper() + ': ' }}" + images_first("'<image>'", "part.text + ' '"),
            "{{- turn.role.upper() + ': ' }}" + images_first("'<image>'", "part.text + ' '"),
            "{{- 'ASSISTANT:' }}",
        ),
        start="USER: ",
        image="<image>",
        end=" ASSISTANT:",
        lead=" ",
        first=True,
    ),
    "videollama3-2b": Published(
        does="ChatML, a line break behind every image, whose token it takes from the tokenizer (image_token); a system "
        "message of its own on request (add_system_prompt)",
        template="{%- if add_system_prompt %}{{- '<|im_start|>system\\nYou see pictures.<|im_end|>\\n' }}{%- endif %}"
        + chatml("image_token + '\\n'"),
        image="<image>\n",
        revision="928862f",
        **CHATML,
    ),
    "exaone-4.5-33b": Published(
        does="writes a line break behind an image, and where enable_thinking is false an empty thought where a reply "
        "is generated; thinks otherwise. Read off the texts that tests of transformers expect, about one image; how "
        "two images and a reply are written was not seen",
        template=loop(
            "{{- '<|user|>\\n' }}" + parts("'<vision><|image_pad|></vision>\\n'") + "{{- '<|endofturn|>\\n' }}",
            f"{{{{- '<|assistant|>\\n{EMPTY}' }}}}" + either(parts("''")) + "{{- '<|endofturn|>\\n' }}",
            "{{- '<|assistant|>\\n' }}" + HYBRID,
        ),
        start="<|user|>\n",
        image="<vision><|image_pad|></vision>\n",
        end="<|endofturn|>\n<|assistant|>\n<think>\n\n</think>\n\n",
        token="<|image_pad|>",  # noqa: S106
    ),
    "ovis2-2b": Published(
        does="writes a system message of its own before all else, and a line break behind every image",
        template=chatml("'<image>\\n'", system="<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n"),
        start="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        image="<image>\n",
        end=CHATML["end"],
    ),
    "qwen2-vl-2b": QWEN2,
    "qwen2.5-vl-7b": QWEN2,
    "qwen3-vl-8b": Published(
        does="as that of Qwen2-VL, without a system message of its own",
        template=chatml(QWEN_IMAGE),
        **CHATML,
        **QWEN,
    ),
    "qwen3.6": QWEN3_6,
    "qwen3.8": Published(
        does="as that of Qwen3.6; a system message says how hard to think (reasoning_effort) where thinking is not "
        "switched off",
        template="{%- if enable_thinking is undefined or enable_thinking %}{{- '<|im_start|>system\\nThink '"
        " ~ reasoning_effort | default('hard') ~ '.<|im_end|>\\n' }}{%- endif %}" + QWEN3_6.template,
        start=QWEN3_6.start,
        end=QWEN3_6.end,
        **QWEN,
    ),
    "internvl3-8b": Published(
        does="writes a line break behind every image; no system message",
        template=chatml("'<IMG_CONTEXT>\\n'"),
        image="<IMG_CONTEXT>\n",
        token="<IMG_CONTEXT>",  # noqa: S106
        **CHATML,
    ),
    "smolvlm-256m": IDEFICS,
    "idefics3-8b": IDEFICS,
    "gemma-3-4b": Published(
        does="trims every text, the replies too; calls the assistant model; refuses turns that do not alternate",
        template="{{- bos_token }}"
        + loop(
            "{{- '<start_of_turn>user\\n' }}"
            + either(parts("'<start_of_image>'", "part.text | trim"), "turn.content")
            # of the original: a system message goes before the first text
            + "{{- '<end_of_turn>\\n' }}",
            "{{- '<start_of_turn>model\\n' }}"
            + either(parts("'<start_of_image>'", "part.text | trim"), "turn.content | trim")
            + "{{- '<end_of_turn>\\n' }}",
            "{{- '<start_of_turn>model\\n' }}",
        ),
        start="<s><start_of_turn>user\n",
        image="<start_of_image>",
        end="<end_of_turn>\n<start_of_turn>model\n",
        token="<start_of_image>",  # noqa: S106
    ),
    "gemma-4-31b": gemma4(thought=True),
    "gemma-4-e4b": gemma4(thought=False),
    "llama-3.2-11b-vision": Published(
        does="writes a system message with the date (date_string) only where there are no images",
        template="{{- bos_token }}{%- set day = date_string if date_string is defined else strftime_now('%d %b %Y') %}"
        "{%- set shown = messages[0].content is not string and messages[0].content | selectattr('type', 'equalto', "
        "'image') | list %}{%- if not shown %}{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + day + "
        "'\\n\\n<|eot_id|>' }}{%- endif %}"
        + "{%- for turn in messages %}{{- '<|start_header_id|>' + turn.role + '<|end_header_id|>\\n\\n' }}"
        + either(parts("'<|image|>'"))
        + "{{- '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}"
        "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}",
        start="<s><|start_header_id|>user<|end_header_id|>\n\n",
        image="<|image|>",
        end="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        token="<|image|>",  # noqa: S106
    ),
    "mistral-small-3.1-24b": Published(
        does="writes a system message of its own with today's date; no generation prompt; a reply begins right behind "
        "[/INST], a list of parts or a text",
        template="{{- bos_token ~ '[SYSTEM_PROMPT]Today is ' ~ strftime_now('%Y-%m-%d') ~ '.[/SYSTEM_PROMPT]' }}"
        + loop(
            "{{- '[INST]' }}" + either(parts("'[IMG]'")) + "{{- '[/INST]' }}",
            either("{{- turn.content[0].text }}") + "{{- eos_token }}",
        ),
        start="<s>[SYSTEM_PROMPT]Today is 2025-01-01.[/SYSTEM_PROMPT][INST]",
        image="[IMG]",
        end="[/INST]",
        token="[IMG]",  # noqa: S106
    ),
    "pixtral-12b": Published(
        does="adds a token to a reply, which has to be a text; no generation prompt",
        template="{{- bos_token }}"
        + loop("{{- '[INST]' }}" + either(parts("'[IMG]'")) + "{{- '[/INST]' }}", "{{- turn.content + eos_token }}"),
        start="<s>[INST]",
        image="[IMG]",
        end="[/INST]",
        token="[IMG]",  # noqa: S106
    ),
    "glm-4.1v-9b": Published(
        does="prints the content of a reply as it is, a list of parts as the text of a Python list; the model itself "
        "begins with a thought, and nothing switches that off",
        template="{{- '[gMASK]<sop>' }}"
        + loop(
            "{{- '<|user|>\\n' }}" + either(parts("'<|begin_of_image|><|image|><|end_of_image|>'")),
            "{{- '<|assistant|>\\n' ~ turn.content }}",
            "{{- '<|assistant|>\\n' }}",
        ),
        start="[gMASK]<sop><|user|>\n",
        image="<|begin_of_image|><|image|><|end_of_image|>",
        end="<|assistant|>\n",
        token="<|image|>",  # noqa: S106
        revision="3c1471e",
    ),
    "glm-4.6v-flash": Published(
        does="writes every part on a line of its own; where enable_thinking is false, /nothink behind the question and "
        "an empty thought where a reply is generated, and before every reply",
        template="{{- '[gMASK]<sop>' }}"
        + loop(
            "{{- '<|user|>' }}"
            + parts("'\\n<|begin_of_image|><|image|><|end_of_image|>'", "'\\n' + part.text")
            + "{{- '/nothink' if enable_thinking is defined and not enable_thinking }}",
            "{{- '<|assistant|>\\n<think></think>\\n' }}"
            + either(parts("''", "part.text | trim"), "turn.content | trim"),
            "{{- '<|assistant|>\\n' ~ ('<think></think>\\n' if enable_thinking is defined and not enable_thinking) }}",
        ),
        start="[gMASK]<sop><|user|>",
        image="\n<|begin_of_image|><|image|><|end_of_image|>",
        gap="\n",
        end="/nothink<|assistant|>\n<think></think>\n",
        token="<|image|>",  # noqa: S106
    ),
    "paddleocr-vl": Published(
        does="writes all images first, then the text and a line break; takes lists of parts alone",
        template="{{- '<|begin_of_sentence|>' }}"
        + loop(
            "{{- 'User: ' }}"
            + images_first("'<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>'", "part.text")
            + "{{- '\\n' }}",
            "{{- 'Assistant:\\n' }}" + images_first("''", "part.text") + "{{- '</s>' }}",
            "{{- 'Assistant:\\n' }}",
        ),
        start="<|begin_of_sentence|>User: ",
        image="<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>",
        end="\nAssistant:\n",
        token="<|IMAGE_PLACEHOLDER|>",  # noqa: S106
        first=True,
    ),
    "minicpm-v-4.6": Published(
        does="writes a line break behind every image; where a reply is generated it opens a thought, or writes an "
        "empty one where enable_thinking is false",
        template=chatml("'<|image_pad|>\\n'", thought=EMPTY, opened=HYBRID),
        start="<|im_start|>user\n",
        image="<|image_pad|>\n",
        end="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        token="<|image_pad|>",  # noqa: S106
    ),
}
