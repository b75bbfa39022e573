import pytest

from abc_hf.common.text import csv_cell


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(start):
    assert csv_cell(f"{start}HYPERLINK()") == f"'{start}HYPERLINK()"


@pytest.mark.parametrize("value", ["Canon", "", " =1", "/a=1.jpg", -1.5, 0, None, True])
def test_other_cells_stay_as_they_are(value):
    assert csv_cell(value) is value
