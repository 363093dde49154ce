"""Qwen-VL, first generation, in our own code: base and Chat, one image or several."""
