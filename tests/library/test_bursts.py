from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import ndimage

from abc_hf.library.bursts import DISTANCE, MEASURED, SECONDS, add_bursts, burst_columns, find_bursts, seconds_of
from abc_hf.library.journal import line_of, value_of
from abc_hf.library.table import COLUMNS, attention_file, path_text
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
    columns = burst_columns(sort_table(rows), lambda rows: [0.5] * len(rows))
    assert columns["burst"] == [1, 1, None, None, None]
    assert seconds_of("2026-05-01T12:00:00.25+02:00") == seconds_of("2026-05-01T12:00:00.25")


def test_the_sharpest_is_first_and_what_cannot_be_measured_last():
    rows = [shot("x", 500)] + [shot(name, second) for second, name in enumerate("abcd")] + [shot("y", 100)]
    values = {"a": 0.4, "b": 0.9, "c": None, "d": 0.6}
    columns = burst_columns(sort_table(rows), lambda rows: [values[row["path"]] for row in rows])
    assert columns["burst"] == [None, 1, 1, 1, 1, None]
    assert columns["burst_rank"] == [None, 3, 1, 4, 2, None]
    assert columns["sharpness"] == [None, 0.4, 0.9, None, 0.6, None]


def test_bursts_are_numbered_in_the_table_s_order():
    rows = [shot("b0", 50), shot("a0", 0), shot("b1", 51), shot("a1", 1)]
    assert burst_columns(sort_table(rows), lambda rows: [1.0] * len(rows))["burst"] == [1, 2, 1, 2]
    assert burst_columns(sort_table([]), lambda rows: [])["burst"] == []


@pytest.fixture
def library(tmp_path):
    """One scene in six shots under growing blur, their subject at the right; the left, which does not count, is blurred
    the other way round. A seventh photo was taken an hour later."""
    rng, rows = np.random.default_rng(0), []
    scene = rng.integers(0, 256, (40, 60)).astype(float).repeat(6, 0).repeat(6, 1)
    attention = np.zeros((20, 30), np.uint8)
    attention[:, 16:] = 255
    for number, radius in enumerate((3, 1, 0.5, 2, 6, 4.5, 0)):
        path = tmp_path / "photos" / (f"{number}.png" if number != 2 else "2\udcff.png")
        path.parent.mkdir(exist_ok=True)
        picture = ndimage.gaussian_filter(scene, radius)
        picture[:, :180] = ndimage.gaussian_filter(scene, 6 - radius)[:, :180]
        Image.fromarray(picture.astype(np.uint8)).save(path)
        rows.append(shot(path_text(str(path)), 3600 if number == 6 else number, width=360, height=240))
    out = write_sorted(tmp_path / "out", rows, 0)
    for row in rows:
        file = attention_file(out, row["path"])
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(attention).save(file)
    return out


def column(out: Path, name: str) -> list:
    return pq.read_table(out / "photos.parquet")[name].to_pylist()


def test_shots_are_ranked_by_the_blur_of_their_subject(library):
    add_bursts(library)
    assert column(library, "burst") == [1] * 6 + [None]
    assert column(library, "burst_rank") == [4, 2, 1, 3, 6, 5, None]
    assert pq.read_schema(library / "photos.parquet") == COLUMNS
    sharpness = column(library, "sharpness")
    assert sharpness[2] > 2 * sharpness[4] and sharpness[6] is None
    lines = (library / "photos.csv").read_text().splitlines()
    assert len(lines) == 8 and lines[0].split(",")[0] == '"path"'


def test_only_shots_of_bursts_are_opened_and_none_twice(library, monkeypatch):
    opened = []

    def interrupted(photo, attention):
        opened.append(photo)
        raise KeyboardInterrupt

    monkeypatch.setattr("abc_hf.library.bursts.subject_sharpness", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add_bursts(library)
    assert len(opened) == 1
    monkeypatch.undo()
    add_bursts(library)
    first = pq.read_table(library / "photos.parquet")
    text = (library / MEASURED).read_text()
    assert sum(bool(line) for line in text.splitlines()) == 6
    (library / MEASURED).write_text(text[:-30])  # killed while it wrote
    monkeypatch.setattr("abc_hf.library.bursts.subject_sharpness", lambda *args: pytest.fail("it was opened again"))
    with pytest.raises(pytest.fail.Exception):
        add_bursts(library)
    monkeypatch.undo()
    add_bursts(library)
    monkeypatch.setattr("abc_hf.library.bursts.subject_sharpness", lambda *args: pytest.fail("it was opened again"))
    add_bursts(library)
    assert pq.read_table(library / "photos.parquet") == first


def test_a_shot_that_cannot_be_opened_ranks_last(library):
    (library.parent / "photos" / "1.png").write_bytes(b"damaged")
    add_bursts(library)
    assert column(library, "burst_rank") == [3, 6, 1, 2, 5, 4, None]
    assert column(library, "sharpness")[1] is None
    assert [value_of(line)[-1] for line in (library / MEASURED).read_bytes().splitlines() if line][1] is None


def test_damaged_measurements_are_made_again(library):
    add_bursts(library)
    before, text = pq.read_table(library / "photos.parquet"), (library / MEASURED).read_bytes()
    lines = text.splitlines()
    foreign = [line_of(value) for value in ([], 7, {"a": 1}, ["/a.png", [], 1, 0.5], ["/a.png", 1, 1.0, "sharp"])]
    (library / MEASURED).write_bytes(b"\xff\n" + b"".join(foreign) + b"\n".join([b"0" + lines[1], *lines[2:], b""]))
    add_bursts(library)
    assert pq.read_table(library / "photos.parquet") == before
