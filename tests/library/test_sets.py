import numpy as np
import pytest
from PIL import Image

from abc_hf.library.bursts import burst_columns
from abc_hf.library.sets import find_sets
from abc_hf.library.table import thumbnail_files
from tests.library.sort_toys import sort_row, sort_table

SETTINGS = {"exposure_time": 0.01, "f_number": 4.0, "iso": 200.0, "exposure_bias": 0.0, "focal_length": 50.0}


def shot(name: str, second: float, bits: int = 0, **others) -> dict:
    minutes, seconds = divmod(second, 60)
    taken = f"2026-05-01T12:{int(minutes):02}:{seconds:06.3f}"
    row = sort_row(name, taken=taken, camera="Toy", body="1", perceptual_hash=f"{bits:016x}")
    return row | SETTINGS | others


def sets_of(*rows: dict, out=None) -> list[tuple[str, str]]:
    table = sort_table(list(rows))
    names = table["path"].to_pylist()
    return [(kind, "".join(names[index] for index in members)) for kind, members in find_sets(table, out)]


def bracket(second: float = 0, names: str = "abc", **others) -> list[dict]:
    values = zip(names, (0.0, -2.0, 2.0), (0.01, 0.0025, 0.04), strict=True)
    return [
        shot(name, second + number, exposure_bias=bias, exposure_time=time, **others)
        for number, (name, bias, time) in enumerate(values)
    ]


def test_a_bracket():
    assert sets_of(*bracket(), shot("d", 60)) == [("exposure bracket", "abc")]
    assert sets_of(*[row | {"exposure_bias": None} for row in bracket()]) == [("exposure bracket", "abc")]
    assert sets_of(*bracket()[:2]) == []
    assert sets_of(*(row | {"focal_length": 20.0 + number} for number, row in enumerate(bracket()))) == []
    assert sets_of(*(row | {"body": str(number)} for number, row in enumerate(bracket()))) == []


def test_long_exposures_do_not_tear_a_bracket():
    rows = [
        shot(name, second, exposure_bias=float(second), exposure_time=8.0)
        for name, second in (("a", 0), ("b", 9), ("c", 18))
    ]
    assert sets_of(*rows) == [("exposure bracket", "abc")]


@pytest.mark.parametrize("step", [0.05, -0.05])
def test_a_focus_stack_goes_one_way(step):
    rows = [shot(name, second, subject_distance=1 + step * second) for second, name in enumerate("abcd")]
    assert sets_of(*rows) == [("focus stack", "abcd")]
    rows[2]["subject_distance"] = 1.0 + step / 2  # and back
    assert sets_of(*rows) == []


def test_a_time_lapse_is_even():
    rows = [shot(name, 10 * second) for second, name in enumerate("abcdefghij")]
    assert sets_of(shot("x", 300), *rows) == [("time lapse", "abcdefghij")]
    assert sets_of(*rows[:9]) == []
    uneven = [shot(name, 10 * second + 3 * (second % 2)) for second, name in enumerate("abcdefghij")]
    assert sets_of(*uneven) == []
    burst = [shot(name, second) for second, name in enumerate("abcdefghij")]
    assert sets_of(*burst) == []


def test_a_panorama_is_told_by_the_overlap(tmp_path):
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (40, 160)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    for kind, step in (("wide", 120), ("other", None)):
        for number in range(3):
            view = (
                scene[:, number * 120 : number * 120 + 240]
                if step
                else rng.integers(0, 256, (160, 240)).astype(np.uint8)
            )
            file = thumbnail_files(tmp_path, f"{kind}{number}")[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(view).save(file, quality=90)
    rows = {
        kind: [shot(f"{kind}{n}", 4 * n, bits=(2**16 - 1) << (16 * n)) for n in range(3)] for kind in ("wide", "other")
    }
    assert sets_of(*rows["wide"], out=tmp_path) == [("panorama", "wide0wide1wide2")]
    assert sets_of(*rows["other"], out=tmp_path) == [] == sets_of(*rows["wide"])


def test_shots_of_a_set_are_in_no_burst():
    rows = [*bracket(), shot("d", 100), shot("e", 101)]
    columns = burst_columns(sort_table(rows))
    assert columns["set_kind"] == ["exposure bracket"] * 3 + [None] * 2
    assert columns["set"] == [1, 1, 1, None, None] and columns["burst"] == [None, None, None, 1, 1]
