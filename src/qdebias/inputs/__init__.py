"""Which images are meant by what was typed.

Files, folders, patterns, lists, tables, tar shards, data sets on disk, and addresses; see docs/inputs.md.
"""

from qdebias.inputs.files import Inputs, find_inputs
from qdebias.inputs.images import Images, open_images
from qdebias.inputs.items import Image, LeftOut, Member, RemoteImage, Unreadable
from qdebias.inputs.named import image_named
from qdebias.inputs.pieces import Piece

__all__ = [
    "Image",
    "Images",
    "Inputs",
    "LeftOut",
    "Member",
    "Piece",
    "RemoteImage",
    "Unreadable",
    "find_inputs",
    "image_named",
    "open_images",
]
