import base64
from pathlib import Path

import pytest

from qdebias.errors import SettingError
from qdebias.service.guard import Keys, load_keys

KEY = "correct-horse-battery"


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", basic(KEY), basic(KEY, "")])
def test_a_key_is_shown_as_bearer_or_as_password(header: str) -> None:
    assert Keys(("another-key-of-length", KEY)).accept(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        KEY,
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        f"Token {KEY}",
        "Basic",
        "Basic ****",
        basic(""),
        basic("", KEY),
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Bearer \udcff",
        f"Bearer {KEY}, Bearer {KEY}",
    ],
)
def test_anything_else_is_no_key(header: str) -> None:
    assert not Keys((KEY,)).accept(header)


def test_keys_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    assert not load_keys(None, {})
    keys = load_keys(None, {"QDEBIAS_SERVE_KEYS": f"{KEY}, second-key-of-length\n"})
    assert keys.accept(f"Bearer {KEY}")
    assert keys.accept("Bearer second-key-of-length")
    file = tmp_path / "keys"
    file.write_text(f"# who\n{KEY}\n\n")
    assert load_keys(file, {"QDEBIAS_SERVE_KEYS": "not-this-one-at-all"}).accept(f"Bearer {KEY}")


def test_bad_keys_stop_the_start_without_being_quoted(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="shorter than 16") as caught:
        load_keys(None, {"QDEBIAS_SERVE_KEYS": "s3cret"})
    assert "s3cret" not in str(caught.value)
    empty = tmp_path / "keys"
    empty.write_text("# none\n")
    with pytest.raises(SettingError, match="holds no key"):
        load_keys(empty)
    with pytest.raises(SettingError, match="cannot be read"):
        load_keys(tmp_path / "absent")
