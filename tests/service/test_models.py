import pytest

from qdebias.backends.fake import FakeBackend
from qdebias.errors import SettingError
from qdebias.service.limits import Settings
from qdebias.service.server import Listening, run
from qdebias.service.service import Served, Service, serve_models, specs_by_name


def test_a_model_is_called_by_the_last_part_of_its_backend_or_as_one_likes() -> None:
    specs = [
        "nano",
        "hf:/models/secret/Qwen2-VL",
        "openai:http://host:8000/v1#org/judge",
        "pkg.mod:make",
        "mine=hf:/a/b",
    ]
    assert list(specs_by_name(specs)) == ["nano", "Qwen2-VL", "judge", "make", "mine"]
    assert specs_by_name(["mine=hf:/a/b"]) == {"mine": "hf:/a/b"}
    assert specs_by_name(["openai:http://host/v1?a=b"]) == {"v1?a=b": "openai:http://host/v1?a=b"}
    for bad in ([], ["nano", "nano"], ["a/x", "b/x"]):
        with pytest.raises(SettingError, match="different names"):
            specs_by_name(bad)


def test_a_default_method_that_needs_more_than_an_image_is_refused() -> None:
    for method, words in (("mismatched", "needs more than one image"), ("nonsense", "no method 'nonsense'")):
        with pytest.raises(SettingError, match=words):
            serve_models({"fake": FakeBackend()}, Settings(method=method))


def test_limits_that_make_no_sense_are_refused() -> None:
    for setting in ({"queue": 0}, {"deadline": -1.0}, {"seed": -1}, {"images": 65}, {"image_bytes": 0}):
        with pytest.raises(SettingError):
            Settings(**setting)  # type: ignore[arg-type]


def test_a_fault_that_nobody_foresaw_ends_the_server_too() -> None:
    def load() -> Served:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Service(load, Settings()), Listening(port=0))
