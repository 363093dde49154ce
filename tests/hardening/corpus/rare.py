"""The formats that Pillow reads and does not write, each as a small file that it takes for one of that format."""

import struct
from collections.abc import Iterator

from corpus.case import Case, of_bytes
from corpus.pictures import encoded

_SIDE = 64
_GREY = bytes(range(64)) * 64


def _cursor() -> bytes:
    icon = encoded("ICO", "RGBA", bitmap_format="bmp", sizes=[(32, 32)])
    return icon[:2] + b"\2\0" + icon[4:]


def _fits() -> bytes:
    cards = {"SIMPLE": "T", "BITPIX": "8", "NAXIS": "2", "NAXIS1": "64", "NAXIS2": "64"}
    head = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in cards.items()) + "END".ljust(80)
    return head.ljust(2880).encode() + _GREY.ljust(5760, b"\0")


def _fli() -> bytes:
    head = struct.pack("<IHHHHHHI", 160, 0xAF11, 1, _SIDE, _SIDE, 8, 3, 5)
    return head.ljust(128, b"\0") + struct.pack("<IHH8s", 32, 0xF1FA, 1, bytes(8)) + struct.pack("<IH10s", 16, 13, b"")


def _iptc() -> bytes:
    fields = {(3, 60): b"\1\0", (3, 20): b"\0\x40", (3, 30): b"\0\x40", (3, 120): b"\1", (8, 10): _GREY}
    return b"".join(b"\x1c" + bytes(tag) + struct.pack(">H", len(data)) + data for tag, data in fields.items())


def _mcidas() -> bytes:
    words = [0] * 64
    words[1], words[8], words[9], words[10], words[13], words[33] = 4, _SIDE, _SIDE, 1, 1, 256
    return struct.pack("!64i", *words) + _GREY


def _pixar() -> bytes:
    head = b"\x80\xe8\0\0".ljust(416, b"\0") + struct.pack("<HH4xHH", _SIDE, _SIDE, 14, 2)
    return head.ljust(1024, b"\0") + _GREY * 3


def _photoshop() -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, _SIDE, _SIDE, 8, 3) + bytes(12) + b"\0\0" + _GREY * 3


def _sun() -> bytes:
    return struct.pack(">8I", 0x59A66A95, _SIDE, _SIDE, 8, len(_GREY), 1, 0, 0) + _GREY


def _metafile() -> bytes:
    box = struct.pack("<HhhhhHIH", 0, 0, 0, 640, 640, 1440, 0, 0)
    return b"\xd7\xcd\xc6\x9a" + box + b"\1\0\x09\0".ljust(14, b"\0")


def _xpm() -> bytes:
    rows = ",\n".join(['"' + "a" * _SIDE + '"'] * _SIDE)
    return f'/* XPM */\nstatic char *x[] = {{\n"64 64 1 1",\n"a c #102030",\n{rows}}};\n'.encode()


RARE = {
    "BUFR": b"BUFR".ljust(300, b"\0"),
    "CUR": _cursor(),
    "DCX": struct.pack("<3I", 0x3ADE68B1, 12, 0) + encoded("PCX"),
    "FITS": _fits(),
    "FLI": _fli(),
    "FTEX": b"FTEX" + struct.pack("<8i", 1, _SIDE, _SIDE, 1, 1, 1, 36, 3 * len(_GREY)) + _GREY * 3,
    "GBR": struct.pack(">5I", 24, 1, _SIDE, _SIDE, 1) + b"abc\0" + _GREY,
    "GRIB": b"GRIB\0\0\0\1".ljust(300, b"\0"),
    "HDF5": b"\x89HDF\r\n\x1a\n".ljust(300, b"\0"),
    "IMT": b"*x\nwidth 64\nheight 64\npixel n8\n\x0c" + _GREY,
    "IPTC": _iptc(),
    "MCIDAS": _mcidas(),
    "MPEG": b"\0\0\1\xb3" + ((_SIDE << 12 | _SIDE) << 8).to_bytes(4, "big") + bytes(100),
    "PCD": bytes(2048) + b"PCD_".ljust(96 * 2048, b"\0") + bytes(768 * 512 * 3 // 2),
    "PIXAR": _pixar(),
    "PSD": _photoshop(),
    "SUN": _sun(),
    "WMF": _metafile(),
    "XPM": _xpm(),
    "XVTHUMB": b"P7 332\n#END_OF_COMMENTS\n64 64 255\n" + _GREY,
}


def rare_cases() -> Iterator[Case]:
    """Yield one file of each format: none of these decoders is used, whatever the file is called."""
    for form, data in RARE.items():
        for suffix in (form.lower(), "png"):
            yield of_bytes("rare", f"{form}.{suffix}", data, "is not an image in one of the formats")
