"""Files as rows: every form of CSV, JSON, Excel and MATLAB that label files come in."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from qdebias.errors import MissingPackageError, SettingError
from qdebias.inputs.datasets.matlab import load_variable, read_grid
from qdebias.inputs.datasets.readers import read_delimited, read_records, read_workbook

WANT = [{"img_path": "a.jpg", "gt_score": 1.5}, {"img_path": "b.jpg", "gt_score": 2}]


@pytest.mark.parametrize(
    "text",
    [
        '[{"img_path": "a.jpg", "gt_score": 1.5}, {"img_path": "b.jpg", "gt_score": 2}]',
        '{"img_path": "a.jpg", "gt_score": 1.5}{"img_path": "b.jpg", "gt_score": 2}',
        '{"img_path": "a.jpg", "gt_score": 1.5}\n{"img_path": "b.jpg", "gt_score": 2}\n',
        '{"img_path": "a.jpg", "gt_score": 1.5},\n{"img_path": "b.jpg", "gt_score": 2},',
        '[{"img_path": "a.jpg", "gt_score": 1.5}][{"img_path": "b.jpg", "gt_score": 2}]',
        '{"img_path": ["a.jpg", "b.jpg"], "gt_score": [1.5, 2]}',
        '{"files": [{"img_path": "a.jpg", "gt_score": 1.5}, {"img_path": "b.jpg", "gt_score": 2}]}',
        '\ufeff[{"img_path": "a.jpg", "gt_score": 1.5}, {"img_path": "b.jpg", "gt_score": 2}]',
    ],
    ids=["list", "joined", "lines", "commas", "lists", "columns", "nested", "byte-order-mark"],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_json_in_every_form_gives_the_same_rows(text: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("x.json.gz" if packed else "x.json")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert read_records(path) == WANT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"img_path": "a.jpg"', "is not JSON, line 1"),
        ("[1, 2]", "expected objects with columns, found '1'"),
        ('{"a": [1, 2], "b": [1]}', "columns of different lengths"),
    ],
)
def test_broken_json_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(SettingError, match=message):
        read_records(path)


def test_a_row_of_a_question_keeps_its_list_of_candidates(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"img_path": "a.jpg", "question": "?", "candidates": ["Yes", "No"]}]')
    assert read_records(path) == [{"img_path": "a.jpg", "question": "?", "candidates": ["Yes", "No"]}]


def test_csv_cells_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes('\ufeffname,prompt,mos\r\n"a (1).jpg","one, ""two""\nthree",2.5\r\n\r\n'.encode())
    assert read_records(path) == [{"name": "a (1).jpg", "prompt": 'one, "two"\nthree', "mos": "2.5"}]


def test_of_two_columns_with_one_name_the_first_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("name,Brightness,Brightness\na,1,2\n")
    assert read_records(path) == [{"name": "a", "Brightness": "1", "Brightness (2)": "2"}]


def test_columns_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("5.5 I01_01_1.bmp\n  4.0\ti01_01_2.bmp \n\n")
    rows = read_delimited(path, columns=("score", "name"), delimiter=None)
    assert rows == [{"score": "5.5", "name": "I01_01_1.bmp"}, {"score": "4.0", "name": "i01_01_2.bmp"}]


def test_files_that_are_not_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"name,mos\n\xff\xfe,1\n")
    with pytest.raises(SettingError, match="not UTF-8 text, byte 9"):
        read_records(path)
    (tmp_path / "x.json.gz").write_bytes(b"no gzip")
    with pytest.raises(SettingError, match="cannot be read"):
        read_records(tmp_path / "x.json.gz")
    with pytest.raises(SettingError, match=r"not from '\.pkl'"):
        read_records(tmp_path / "x.pkl")
    with pytest.raises(SettingError, match="cannot be read"):
        read_records(tmp_path / "none.csv")


def test_a_workbook_has_sheets_and_a_header_somewhere(tmp_path: Path) -> None:
    import openpyxl

    path = tmp_path / "x.xlsx"
    book = openpyxl.Workbook()
    for row in ([None, "a note"], ["name", "mos"], [7, 2.5], [None, None]):
        book.active.append(row)
    book.save(path)
    assert read_workbook(path, header="mos") == [{"name": 7, "mos": 2.5}]
    with pytest.raises(SettingError, match="has no sheet 'other'"):
        read_workbook(path, sheet="other")
    with pytest.raises(SettingError, match="no row of column names"):
        read_workbook(path, header="dmos")
    path.write_text("not a workbook")
    with pytest.raises(SettingError, match="not a readable Excel file"):
        read_records(path)


def test_a_workbook_without_openpyxl_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(MissingPackageError, match="needs openpyxl"):
        read_records(tmp_path / "x.xlsx")


def test_matlab_files_that_do_not_fit_are_named(tmp_path: Path, shared: Path) -> None:
    path = tmp_path / "x.mat"
    savemat(path, {"other": np.zeros(3)})
    with pytest.raises(SettingError, match=r"no variable DMOS, only \['other'\]"):
        load_variable(path, "DMOS")
    savemat(path, {"DMOS": np.zeros(3)})
    with pytest.raises(SettingError, match="expected 8 scores, found shape"):
        read_grid(path, name="{reference}", references=2, distortions=2, levels=2)
    path.write_bytes(b"not a matlab file, but long enough to have had a header" * 9)
    with pytest.raises(SettingError, match="not a readable MATLAB file"):
        load_variable(path, "DMOS")
    recent = shared / "labels/livec/lidq92_CLIVEinfo.mat"
    if recent.is_file():
        with pytest.raises(SettingError, match=r"MATLAB 7\.3 file; save it with -v7"):
            load_variable(recent, "x")


@pytest.mark.parametrize("end", ["exit 139", "kill -KILL $$"])
def test_a_reader_that_ends_is_one_error(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SciPy's does on some damaged files."""
    reader = tmp_path / "python"
    reader.write_text(f"#!/bin/sh\n{end}\n")
    reader.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(reader))
    with pytest.raises(SettingError, match=r"x\.mat: is not a readable MATLAB file \(reading it crashed the process"):
        load_variable(tmp_path / "x.mat", "DMOS")


def test_a_file_that_ends_its_reader_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SciPy's reader can end its process at a damaged file; here a stand-in exits in its place."""
    monkeypatch.setattr(
        "qdebias.inputs.datasets.matlab.module_command",
        lambda *_: [sys.executable, "-c", "import os; os._exit(139)"],
    )
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(SettingError, match=r"a\.mat: is not a readable MATLAB file"):
        load_variable(tmp_path / "a.mat", "mos")
