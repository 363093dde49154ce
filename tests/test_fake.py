import time

import numpy as np
import pytest

from contract import QUALITY, VocabularyContract, pair, picture
from qdebias.backends.base import Backend
from qdebias.backends.fake import FakeBackend
from qdebias.errors import BackendError, ImageError
from qdebias.image import digest
from qdebias.prompts import Question, Request


class TestContract(VocabularyContract):
    reads_tokens = False

    @pytest.fixture
    def backend(self) -> Backend:
        return FakeBackend()


def test_answers_as_told() -> None:
    def brightness(request: Request, question: Question) -> list[float]:
        return [float(image.mean()) for image in request.images][: len(question.options)]

    ((first, _),) = FakeBackend(answer=brightness).option_logits([pair(1, 2)])
    np.testing.assert_allclose(first, [picture(1, 72, 96).mean(), picture(2, 64, 80).mean()])


def test_remembers_what_it_was_asked() -> None:
    fake, requests = FakeBackend(), [pair(1, 2), pair(3, 4)]
    fake.option_logits(requests)
    fake.option_logits(requests[:1])
    assert fake.calls == [tuple(requests), (requests[0],)]


def test_forgets_what_it_was_asked_where_it_runs_long() -> None:
    fake = FakeBackend(remember=False)
    assert fake.option_logits([pair(1, 2)])
    assert fake.top_logits([pair(1, 2)], 3)
    assert fake.calls == []


def test_fails_on_the_images_it_is_told_to() -> None:
    fake = FakeBackend(failing={digest(picture(2, 64, 80))})
    fake.option_logits([pair(2, 3)])  # seed 2 at another size is another image
    with pytest.raises(ImageError, match=digest(picture(2, 64, 80))):
        fake.option_logits([pair(1, 2)])


@pytest.mark.parametrize("bad", [[1.0], [1.0, 2.0, 3.0], [np.nan, 0.0], [np.inf, 0.0]])
def test_refuses_an_answer_that_is_none(bad: list[float]) -> None:
    with pytest.raises(BackendError, match="one finite number for each"):
        FakeBackend(answer=lambda *_: bad).option_logits([Request(images=pair(1, 2).images, questions=(QUALITY,))])


def test_takes_the_time_it_is_told_to() -> None:
    start = time.perf_counter()
    FakeBackend(delay=0.05).option_logits([pair(1, 2)])
    assert time.perf_counter() - start >= 0.05


def test_name_tells_fakes_apart() -> None:
    assert FakeBackend().fingerprint != FakeBackend(name="other").fingerprint
