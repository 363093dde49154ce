"""Qwen-VL, first generation, in our own code: base and Chat, one image or several."""

from qdebias.backends.qwen_vl.backend import QwenVlBackend
from qdebias.backends.qwen_vl.config import is_first_qwen
from qdebias.backends.qwen_vl.load import load_qwen_vl

__all__ = ["QwenVlBackend", "is_first_qwen", "load_qwen_vl"]
