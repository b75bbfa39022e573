import pyarrow.parquet as pq

from abc_hf.library.bursts import DISTANCE, SECONDS, add_bursts, burst_columns, find_bursts, seconds_of
from abc_hf.library.table import COLUMNS
from tests.library.sort_toys import sort_row, sort_table, write_sorted


def shot(name: str, second: float, bits: int = 0, camera: str = "Nikon D750", **others) -> dict:
    minutes, seconds = divmod(second, 60)
    taken = f"2026-05-01T12:{int(minutes):02}:{seconds:06.3f}"
    return sort_row(name, taken=taken, camera=camera, perceptual_hash=f"{bits:016x}", **others)


def bursts_of(*rows: dict, **options) -> list[list[str]]:
    table = sort_table(list(rows))
    found = find_bursts(table, **options)
    return sorted([table["path"][index].as_py() for index in chain] for chain in found)


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
    columns = burst_columns(sort_table(rows))
    assert columns["burst"] == [1, 1, None, None, None]
    assert seconds_of("2026-05-01T12:00:00.25+02:00") == seconds_of("2026-05-01T12:00:00.25")


def ranks(**sharpness: tuple) -> list[int | None]:
    """The ranks in a burst of shots with such (eye_sharpness, subject_sharpness)."""
    rows = [shot(name, second) for second, name in enumerate(sharpness)]
    for row, (eye, subject) in zip(rows, sharpness.values(), strict=True):
        row |= {"eye_sharpness": eye, "subject_sharpness": subject}
    return burst_columns(sort_table(rows))["burst_rank"]


def test_the_sharpest_is_first_and_what_cannot_be_measured_last():
    assert ranks(a=(None, 0.4), b=(None, 0.9), c=(None, None), d=(None, 0.6)) == [3, 1, 4, 2]
    rows = [shot("x", 500), shot("a", 0), shot("b", 1)]
    assert burst_columns(sort_table(rows))["burst_rank"] == [None, 1, 2]


def test_eyes_come_before_the_subject_and_a_sharp_background_never_wins():
    assert ranks(soft=(0.3, 0.99), sharp=(0.8, 0.7), no_face=(None, 1.0)) == [2, 1, 3]
    assert ranks(one=(0.8, 0.5), other=(0.8, 0.6)) == [2, 1]


def test_bursts_are_numbered_in_the_table_s_order():
    rows = [shot("b0", 50), shot("a0", 0), shot("b1", 51), shot("a1", 1)]
    assert burst_columns(sort_table(rows))["burst"] == [1, 2, 1, 2]
    assert burst_columns(sort_table([]))["burst"] == []


def test_the_table_is_written_anew(tmp_path):
    rows = [shot("a", 0, subject_sharpness=0.5), shot("b", 1, subject_sharpness=0.75), shot("c", 3600)]
    out = write_sorted(tmp_path / "out", rows, 0)
    add_bursts(out)
    table = pq.read_table(out / "photos.parquet")
    assert table["burst"].to_pylist() == [1, 1, None] and table["burst_rank"].to_pylist() == [2, 1, None]
    assert table.schema == COLUMNS
    lines = (out / "photos.csv").read_text().splitlines()
    assert len(lines) == 4 and lines[0].split(",")[0] == '"path"'
