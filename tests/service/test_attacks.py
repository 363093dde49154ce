"""Attacks known from other services: their images, names of files, injected headers, a decoder on the loose."""

import asyncio
import base64
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import httpx2
import numpy as np
import pytest

from qdebias.backends.fake import FakeBackend
from qdebias.runs.scorer import Scorer
from qdebias.service.limits import Settings
from qdebias.service.processes import Decoder
from qdebias.service.refusal import Reason, Refusal
from serving import code, encoded, noise


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a PNG that promises a size and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


BOMB = zlib.compress(bytes(200 << 20), 9)
"""200 MB in 200 kB."""

IMAGES = {
    "1 x 1 pixel (CVE-2026-22773)": (encoded(noise(1, 1, 1)), "422 too_small"),
    "no pixels at all (CVE-2026-22778)": (b"\x89PNG\r\n\x1a\n", "415 no_image"),
    "more pixels than there is memory": (png_of(2**31 - 1, 2**31 - 1), "413 too_many_pixels"),
    "more than 50 megapixels": (png_of(7072, 7072), "413 too_many_pixels"),
    "a text that unpacks to 200 MB": (png_of(64, 48, chunk(b"zTXt", b"a\0\0" + BOMB)), "415 no_image"),
    "a colour profile that unpacks to 200 MB": (png_of(64, 48, chunk(b"iCCP", b"a\0\0" + BOMB)), "415 no_image"),
    "PSD (CVE-2026-25990)": (b"8BPS\0\1" + bytes(100), "415 no_image"),
    "FITS (CVE-2026-40192)": (b"SIMPLE  =                    T" + bytes(3000), "415 no_image"),
    "JPEG 2000 (CVE-2026-59204)": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "415 no_image"),
    "EPS without an end (CVE-2026-59203)": (b"%!PS-Adobe-3.0 EPSF-3.0\n" + b"%%BeginBinary: 0\n" * 9, "415 no_image"),
    "GD (CVE-2026-55380)": (b"\xff\xfe\xff\xff\xff\xff\x01" + bytes(100), "415 no_image"),
    "DDS (CVE-2025-48379)": (b"DDS \x7c\0\0\0" + bytes(200), "415 no_image"),
    "SVG that includes a file": (b"<svg xmlns='x'><image href='file:///etc/passwd'/></svg>", "415 no_image"),
    "PDF": (b"%PDF-1.7\n" + bytes(100), "415 no_image"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "415 no_image"),
    "AVIF": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(100), "415 no_image"),
    "an empty file": (b"", "415 no_image"),
}
"""Each with the answer to it."""


@pytest.mark.parametrize("attack", IMAGES)
def test_images_that_broke_others_are_refused_in_fixed_words(client: httpx2.Client, attack: str) -> None:
    data, wanted = IMAGES[attack]
    form = {"files": {"image": data}}
    words = {f"{reason.status} {reason.code}": reason.message for reason in Reason}
    for asked in (form, {"json": {"image": {"base64": base64.b64encode(data).decode()}}}):
        for route in ("/v1/score", "/v1/explain"):
            answer = client.post(route, **asked)  # type: ignore[arg-type]
            got = code(answer)
            assert got == wanted
            assert answer.json()["error"]["message"] == words[got]
    batch = client.post("/v1/score/batch", files=[("images", data), ("images", encoded(noise(2)))]).json()
    assert [row["error"] is None for row in batch["results"]] == [False, True]


def test_pixels_beyond_those_that_were_promised_are_not_unpacked(client: httpx2.Client) -> None:
    answer = client.post("/v1/score", files={"image": png_of(64, 48, chunk(b"IDAT", BOMB))})
    assert answer.json()["score"] == Scorer(backend=FakeBackend()).score(np.zeros((48, 64, 3), np.uint8)).value


NAMES = [
    b"../../../../etc/cron.d/evil",
    b"/etc/passwd",
    b"..\\..\\windows\\win.ini",
    b"a.png\0.sh",
    b"a.png\r\nset-cookie: evil=1",
    b'a.png"; name="method"; x="',
    b"<script>alert(1)</script>.png",
    b"$(touch evil).png",
    b"evil" * 500,
    b"\xff\xfe\xfd",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_file_does_nothing(client: httpx2.Client, name: bytes) -> None:
    head = b'--x\r\ncontent-disposition: form-data; name="image"; filename="' + name + b'"\r\n\r\n'
    before = sorted(Path.cwd().iterdir())
    answer = client.post(
        "/v1/score",
        content=head + encoded(noise(1)) + b"\r\n--x--\r\n",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    if answer.status_code != 200:
        assert code(answer) == "400 malformed"
    assert "set-cookie" not in answer.headers
    for word in ("evil", "etc", "script", "win.ini"):
        assert word not in answer.text
    assert sorted(Path.cwd().iterdir()) == before


@pytest.mark.parametrize("text", ["paper\r\nset-cookie: evil=1", "../../etc/passwd", "hf:/etc", "x:y", "{{7*7}}", "\0"])
def test_a_method_or_model_is_a_name_and_nothing_else(client: httpx2.Client, text: str) -> None:
    for field in ("method", "model"):
        answer = client.post("/v1/score", files={"image": encoded(noise(1))}, data={field: text})
        assert code(answer) == f"422 no_{field}"
        assert text not in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/healthz%0d%0aset-cookie:evil=1", "/v1/%0d%0aset-cookie:evil=1?x=%0d%0aa:b"])
def test_an_address_puts_no_header_into_the_answer(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    assert code(answer) == "404 not_found"
    assert not {"set-cookie", "a"} & set(answer.headers)


def test_the_decoder_can_have_neither_files_nor_sockets_nor_processes_nor_much_memory(tmp_path: Path) -> None:
    trial = """
import json, os, socket
from qdebias.service.decoder import confine, warm_up

def fork():
    if os.fork() == 0:
        os._exit(0)
    os.wait()

def tried(call):
    try:
        call()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"

calls = {
    "read": lambda: open("/etc/hostname"),
    "write": lambda: open("evil", "w"),
    "socket": lambda: socket.socket(),
    "local socket": lambda: socket.socket(socket.AF_UNIX),
    "pipe": lambda: os.pipe(),
    "process": fork,
    "memory": lambda: bytearray(1 << 30),
}
free = {name: tried(call) for name, call in calls.items()}
warm_up()
if os.getuid() == 0:
    os.setuid(65534)  # root may start processes in spite of the limit
confine(10_000, 0)
print(json.dumps([free, {name: tried(call) for name, call in calls.items()}]))
"""
    ran = subprocess.run([sys.executable, "-c", trial], cwd=tmp_path, capture_output=True, text=True, check=True)
    free, confined = json.loads(ran.stdout)
    assert set(free.values()) == {"done"}
    assert confined.pop("memory") == "MemoryError"
    assert confined.pop("process") == "BlockingIOError"
    assert set(confined.values()) == {"OSError"}


def tiled_tiff(side: int) -> bytes:
    """Return a TIFF of 64 x 48 pixels in one tile of a side of one's choosing."""
    packing = zlib.compressobj(1)
    tile = b"".join(packing.compress(bytes(3 * side)) for _ in range(side)) + packing.flush()
    bits = struct.pack("<3H", 8, 8, 8)
    entries = [
        (256, 4, 1, 64),
        (257, 4, 1, 48),
        (258, 3, 3, 8),  # bits, which stand behind the header
        (259, 3, 1, 8),  # deflate
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (322, 4, 1, side),
        (323, 4, 1, side),
        (324, 4, 1, 8 + len(bits)),
        (325, 4, 1, len(tile)),
    ]
    body = bits + tile
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    directory = struct.pack("<H", len(entries)) + table + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


def test_an_image_that_asks_for_too_much_memory_is_refused_and_the_next_one_decoded() -> None:
    async def story() -> None:
        process = Decoder(Settings(pixels=10_000, decode_seconds=60.0))
        await process.start()
        try:
            assert (await process.decode(tiled_tiff(64))).shape == (48, 64, 3)
            with pytest.raises(Refusal) as caught:
                await process.decode(tiled_tiff(12_000))  # a tile of 432 MB
            assert caught.value.reason is Reason.DAMAGED
            assert (await process.decode(encoded(noise(1)))).shape == (48, 64, 3)
        finally:
            process.stop()

    asyncio.run(story())
