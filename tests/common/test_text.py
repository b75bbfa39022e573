import time

import pytest

from abc_hf.common.files import write_bytes
from abc_hf.common.text import csv_cell, first_line, waiting


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(start):
    assert csv_cell(f"{start}HYPERLINK()") == f"'{start}HYPERLINK()"


@pytest.mark.parametrize("value", ["Canon", "", " =1", "/a=1.jpg", -1.5, 0, None, True])
def test_other_cells_stay_as_they_are(value):
    assert csv_cell(value) is value


def test_an_error_of_a_file_names_the_file_and_no_temporary_one(tmp_path):
    (tmp_path / "photos.csv").mkdir()
    with pytest.raises(OSError) as caught:
        write_bytes(tmp_path / "photos.csv", b"text")
    assert first_line(caught.value) == f"{tmp_path / 'photos.csv'}: Is a directory"
    assert first_line(OSError("no room.\nmore")) == "no room" and first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("In the config:\n    it is 5.\nmore")) == "In the config: it is 5"


def test_waiting_says_lines_until_it_is_over(capfd):
    with pytest.raises(ZeroDivisionError), waiting("The demo is starting", seconds=0.05):
        time.sleep(0.3)
        1 / 0  # noqa: B018
    lines = capfd.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 6
    assert all(line == "The demo is starting: 0 s so far ..." for line in lines)
    time.sleep(0.2)
    assert capfd.readouterr().err == ""
