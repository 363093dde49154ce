"""Which images are meant by what was typed.

Files, folders, patterns, lists, tables, tar shards, data sets on disk, and addresses; see docs/inputs.md.
"""

from qdebias.inputs.images import Images, Inputs, find_inputs, open_images
from qdebias.inputs.items import EncodedItem, Image, LeftOut, Piece, Unreadable

__all__ = ["EncodedItem", "Image", "Images", "Inputs", "LeftOut", "Piece", "Unreadable", "find_inputs", "open_images"]
