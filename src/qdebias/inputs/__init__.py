"""The images of a run: files, folders, patterns, lists, tables, shards, datasets on disk, videos and addresses.

See docs/inputs.md.
"""

from qdebias.inputs.images import Images, Inputs, find_inputs, open_images
from qdebias.inputs.items import EncodedItem, Image, LeftOut, Piece, Unreadable

__all__ = ["EncodedItem", "Image", "Images", "Inputs", "LeftOut", "Piece", "Unreadable", "find_inputs", "open_images"]
