"""Which images are meant by what was typed.

Files, folders, patterns, lists, tables, tar shards, data sets on disk, and addresses; see docs/inputs.md.
"""

from qdebias.inputs.images import Images, Inputs, find_inputs, open_images
from qdebias.inputs.items import Image, LeftOut, Piece, RemoteImage, Unreadable

__all__ = ["Image", "Images", "Inputs", "LeftOut", "Piece", "RemoteImage", "Unreadable", "find_inputs", "open_images"]
