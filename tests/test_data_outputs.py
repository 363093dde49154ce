"""Stored outputs of models: logits per option, and rows that a second start left behind."""

from pathlib import Path

import numpy as np
import pytest

from qdebias.errors import SettingError
from test_readouts import module

read_outputs = module().read_outputs

ROWS = (
    '{"img_path": "a.jpg", "gt_score": "2.82 ", "logit_good": 14.5, "logit_poor": 12.25}',
    '{"img_path": "b.jpg", "gt_score": 3.5, "logit_good": 13.5, "logit_poor": 13}',
)


def write(path: Path, *rows: str) -> Path:
    path.write_text("".join(rows))
    return path


def test_outputs_are_read_by_option(tmp_path: Path) -> None:
    got = read_outputs(write(tmp_path / "x.json", *ROWS))
    assert got.names == ("a.jpg", "b.jpg")
    np.testing.assert_array_equal(got.mos, [2.82, 3.5])
    assert list(got.logits) == ["good", "poor"]
    np.testing.assert_array_equal(got.logits["good"], [14.5, 13.5])


def test_a_repeated_row_is_left_out_unless_it_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", ROWS[0], *ROWS)
    assert (len(read_outputs(path)), read_outputs(path).repeated) == (2, 1)
    assert (len(read_outputs(path, keep_repeated=True)), read_outputs(path, keep_repeated=True).repeated) == (3, 0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"img_path": "a.jpg", "gt_score": 1}', "has no column logit_"),
        (ROWS[0] + '{"img_path": "b.jpg", "gt_score": 1, "logit_good": 2}', "missing or is not a number"),
        ('{"logit_good": 2}', "needs a column"),
        ("", "needs a column"),
    ],
)
def test_outputs_that_cannot_be_read(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=message):
        read_outputs(write(tmp_path / "x.json", row))
