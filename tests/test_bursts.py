import pyarrow as pa
import pytest
from sort_toys import sort_row, sort_table

from abc_hf.bursts import DISTANCE, SECONDS, add_bursts, find_bursts, seconds_of
from abc_hf.sort_table import COLUMNS


def shot(name: str, second: float, bits: int = 0, camera: str = "Nikon D750", **others) -> dict:
    minutes, seconds = divmod(second, 60)
    taken = f"2026-05-01T12:{int(minutes):02}:{seconds:06.3f}"
    return sort_row(name, taken=taken, camera=camera, perceptual_hash=f"{bits:016x}", **others)


def bursts_of(*rows: dict, **options) -> list[list[str]]:
    table = sort_table(list(rows))
    found = find_bursts(table.to_pydict(), **options)
    return sorted([table["path"][index].as_py() for index in chain] for chain in found)


def no_measure(row: dict) -> float:
    pytest.fail(f"{row['path']} was opened")


def test_a_chain_is_as_long_as_its_links():
    """Each of 30 shots follows within the limit, the first and the last are 29 times that apart."""
    shots = [shot(f"{index:02}.jpg", index * SECONDS) for index in range(30)]
    assert bursts_of(*reversed(shots)) == [[row["path"] for row in shots]]
    broken = shots[:10] + [shot(row["path"], 1 + float(index * SECONDS)) for index, row in enumerate(shots)][10:]
    assert [len(chain) for chain in bursts_of(*broken)] == [10, 20]


def test_the_limits_are_inclusive():
    assert bursts_of(shot("a", 0), shot("b", SECONDS)) == [["a", "b"]]
    assert bursts_of(shot("a", 0), shot("b", SECONDS + 0.001)) == []
    assert bursts_of(shot("a", 0), shot("b", 1, 2**DISTANCE - 1)) == [["a", "b"]]
    assert bursts_of(shot("a", 0), shot("b", 1, 2 ** (DISTANCE + 1) - 1)) == []
    assert bursts_of(shot("a", 0), shot("b", 9), seconds=9) == [["a", "b"]]
    assert bursts_of(shot("a", 0), shot("b", 1, 1), distance=0) == []


def test_looks_may_drift_along_a_chain():
    """Ten bits a step: the third differs from the first by 20."""
    drift = [shot("a", 0, 0), shot("b", 1, 2**10 - 1), shot("c", 2, 2**20 - 1)]
    assert bursts_of(*drift) == [["a", "b", "c"]]


def test_two_cameras_at_one_event_do_not_break_each_other_s_bursts():
    rows = [shot(f"{camera}{second}", second, camera=camera) for second in range(3) for camera in "AB"]
    assert bursts_of(*rows) == [["A0", "A1", "A2"], ["B0", "B1", "B2"]]


def test_copies_of_another_size_are_no_shots():
    rows = [shot("a", 0), shot("a_small", 0, width=600, height=400), shot("b", 1), shot("upright", 2)]
    rows[3] |= {"width": 4000, "height": 6000}
    assert bursts_of(*rows) == [["a", "b", "upright"]]


def test_what_has_no_time_or_failed_is_in_no_burst():
    rows = [shot("a", 0), shot("b", 0), sort_row("c", perceptual_hash="0" * 16), sort_row("d", None)]
    rows += [shot("e", 0) | {"taken": "0000:00:00 00:00:00"}]
    table = add_bursts(sort_table(rows), lambda row: 0.5)
    assert table["burst"].to_pylist() == [1, 1, None, None, None]
    assert seconds_of("2026-05-01T12:00:00.25+02:00") == seconds_of("2026-05-01T12:00:00.25")


def test_the_sharpest_is_first_and_what_cannot_be_measured_last():
    rows = [shot("x", 500)] + [shot(name, second) for second, name in enumerate("abcd")] + [shot("y", 100)]
    values = {"a": 0.4, "b": 0.9, "c": None, "d": 0.6}
    table = add_bursts(sort_table(rows), lambda row: values[row["path"]])
    assert table.schema == COLUMNS
    assert table["burst"].to_pylist() == [None, 1, 1, 1, 1, None]
    assert table["burst_rank"].to_pylist() == [None, 3, 1, 4, 2, None]
    assert table["sharpness"].to_pylist() == pa.array([None, 0.4, 0.9, None, 0.6, None], pa.float32()).to_pylist()


def test_bursts_are_numbered_in_the_table_s_order():
    rows = [shot("b0", 50), shot("a0", 0), shot("b1", 51), shot("a1", 1)]
    assert add_bursts(sort_table(rows), lambda row: 1.0)["burst"].to_pylist() == [1, 2, 1, 2]


def test_what_is_known_is_not_measured_again():
    rows = [shot("a", 0), shot("b", 1), shot("c", 2)]
    known = add_bursts(sort_table(rows[:2]), lambda row: 0.25)
    assert add_bursts(sort_table(rows[:2]), no_measure, known)["sharpness"].to_pylist() == [0.25, 0.25]
    rows[0]["modified"] += 1
    asked = []
    table = add_bursts(sort_table(rows), lambda row: asked.append(row["path"]) or 0.75, known)
    assert asked == ["a", "c"] and table["sharpness"].to_pylist() == [0.75, 0.25, 0.75]


def test_an_empty_table_is_left_as_it_is():
    assert add_bursts(sort_table([]), no_measure).schema == COLUMNS
