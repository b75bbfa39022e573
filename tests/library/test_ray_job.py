"""`sort --ray`: the rows of `sort`, every photo once, whatever is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from abc_hf.cli.main import main
from abc_hf.library.table import COLUMNS
from tests.library.test_assess import assert_alike

ray_job = pytest.importorskip("abc_hf.library.ray_job", reason="ray is not installed", exc_type=ImportError)
ROOT = Path(__file__).parents[2]
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # of clusters that only this machine can reach
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own
OF_THE_REPORT = ("burst", "burst_rank", "set", "set_kind")


@pytest.fixture(autouse=True)
def workers_find_this_package_and_the_cpu(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_worker_niceness", "0")  # other tests run beside these


@pytest.fixture(autouse=True)
def end_as_before():
    """Ray has its own answer to SIGTERM, SystemExit, which would be an error of any later test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def library(photo, tmp_path):
    """Photos in a folder with a sidecar, a tar, a Parquet file and a Lance data set, and files that are none."""
    lance = pytest.importorskip("lance")
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    for number in range(12):
        photo(*((64, 48), (48, 64))[number % 2], number).save(folder / "a" / f"{number:02}.jpg")
    (folder / "a" / "03.jpg.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>'
    )
    (folder / "broken.jpg").write_bytes(b"no photo")
    with tarfile.open(folder.parent / "more.tar", "w") as archive:
        archive.add(folder / "a" / "00.jpg", "x/y.jpg")
    files = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted((folder / "a").glob("*.jpg"))]
    pq.write_table(pa.table({"image": files}), folder / "rows.parquet", row_group_size=5)
    lance.write_dataset(pa.table({"image": [file["bytes"] for file in files[:3]]}), folder / "some.lance")
    return [str(folder), str(folder.parent / "more.tar")]


def sort(*arguments) -> int:
    return main(["sort", *map(str, arguments), "--device", "cpu"])


def rows_in(out: Path) -> list[dict]:
    manifest = json.loads((out / "manifest.json").read_text())
    files = [str(out / manifest["folder"] / name) for name in manifest["files"]]
    rows = ds.dataset(files).to_table(columns=COLUMNS.names).to_pylist()
    assert len(rows) == manifest["photos"] == sum(manifest["files"].values()) == sum(manifest["labels"].values())
    return sorted(rows, key=lambda row: row["path"])


def test_the_rows_are_those_of_sort_and_so_is_the_report(library, tiny_folder, tmp_path, capsys):
    model = ("--model", tiny_folder)
    assert sort(*library, "--out", tmp_path / "plain", *model) == 1
    assert sort(*library, "--out", tmp_path / "out", "--ray", *model) == 1
    plain = pq.read_table(tmp_path / "plain" / "photos.parquet").to_pylist()
    rows = rows_in(tmp_path / "out")
    assert len(rows) == 12 + 1 + 12 + 3 + 1
    assert_alike(rows, plain, but=OF_THE_REPORT)
    assert [row["rating"] for row in rows if row["path"].endswith("/03.jpg")] == [4]

    assert main(["sort", "--report", str(tmp_path / "out")]) == 1
    assert_alike(pq.read_table(tmp_path / "out" / "photos.parquet").to_pylist(), plain)
    pictures = [
        {path.name: path.read_bytes() for path in (tmp_path / out / "thumbs").rglob("*.*")} for out in ("plain", "out")
    ]
    assert pictures[0] == pictures[1]
    capsys.readouterr()
    assert main(["sort", "--report", str(tmp_path / "out"), "--most", "4"]) in (0, 1)
    assert "shows 4 of 29 photos" in capsys.readouterr().out
    assert pq.read_metadata(tmp_path / "out" / "photos.parquet").num_rows == 4


def test_a_photo_that_could_not_be_opened_is_tried_again(library, tiny_folder, tmp_path):
    folder = Path(library[0])
    arguments = (folder, "--out", tmp_path / "out", "--ray", "--model", tiny_folder)
    assert sort(*arguments) == 1
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("photos-*/*.parquet")}
    (folder / "broken.jpg").write_bytes((folder / "a" / "01.jpg").read_bytes())
    assert sort(*arguments) == 0
    assert {path for path in before if path.exists()}, "what was judged is not judged again"
    rows = rows_in(tmp_path / "out")
    assert len(rows) == 28 and not any(row["error"] for row in rows)


def test_a_cluster_that_is_not_there_and_a_folder_without_photos(photo, tiny_folder, tmp_path, capsys):
    photo(64, 48).save(tmp_path / "a.jpg")
    (tmp_path / "empty").mkdir()
    options = ("--out", tmp_path / "out", "--model", tiny_folder, "--ray")
    assert sort(tmp_path, *options, "127.0.0.1:1") == 1
    assert "No Ray cluster answers at 127.0.0.1:1 ([Errno 111] Connection refused)." in capsys.readouterr().err
    assert sort(tmp_path / "empty", *options) == 1
    assert "empty: the folder holds no photos." in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["photos"] == 0


def test_tidy(tmp_path):
    """Doubles within a file and between files go, the first stays; files that were cut short go at a start."""
    out, checkpoint = tmp_path / "year=2024" / "rows", tmp_path / "checkpoint"
    out.mkdir(parents=True)

    def write(name, *rows):
        columns = [dict.fromkeys(ray_job.ROWS.names) | {"path": path, "label": label} for path, label in rows]
        pq.write_table(pa.Table.from_pylist(columns, ray_job.ROWS), out / f"{name}.parquet")

    write("a", ("1", "no-blur"), ("2", "bad-blur"), ("1", "no-blur"))
    write("b", ("2", "bad-blur"))
    write("c", ("3", None), ("4", "no-blur"))
    assert ray_job.tidy(out) == Counter({"no-blur": 2, "bad-blur": 1, None: 1})
    assert [path.name for path in ray_job.shards(out)] == ["a.parquet", "c.parquet"]
    assert pq.ParquetFile(out / "a.parquet").schema_arrow.equals(ray_job.ROWS)
    (out / "d.parquet").write_bytes((out / "a.parquet").read_bytes()[:-10])
    assert ray_job.tidy(out, checkpoint) == Counter({"no-blur": 2, "bad-blur": 1})
    assert pq.read_table(checkpoint)["path"].to_pylist() == ["1", "2", "4"]
    assert ray_job.tidy(tmp_path / "none", checkpoint) == Counter() and not list(checkpoint.iterdir())


def test_a_job_that_is_killed_goes_on(photo, tiny_folder, tmp_path):
    """The second run judges what the first has not written."""
    folder = many(photo, tmp_path, 400)
    command = [sys.executable, "-c", SMALL, "sort", folder, "--out", tmp_path / "out", "--ray", "--model", tiny_folder]
    with subprocess.Popen([*map(str, command), "--device", "cpu"], process_group=0) as process:
        wait_for(lambda: noted(tmp_path / "out"), process)
        os.killpg(process.pid, signal.SIGKILL)
    done = subprocess.run([*map(str, command), "--device", "cpu"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    before = re.search(r"^(\d+) photos were judged before", done.stdout, re.MULTILINE)
    assert 20 <= int(before[1]) < 400, done.stdout
    assert each_once(tmp_path / "out", folder)


def test_a_machine_that_is_lost_costs_no_photo(photo, tiny_folder, tmp_path):
    """Two raylets on this machine; one of them is killed in the middle of the job."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    folder = many(photo, tmp_path, 400)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        other = cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        command = [sys.executable, "-c", SMALL, "sort", folder, "--out", tmp_path / "out", "--ray", cluster.address]
        command += ["--model", tiny_folder, "--device", "cpu"]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
            wait_for(lambda: noted(tmp_path / "out"), process)
            cluster.remove_node(other, allow_graceful=False)
            assert process.wait() == 0, process.stdout.read()
    finally:
        cluster.shutdown()
        ray.shutdown()
    assert each_once(tmp_path / "out", folder)


SMALL = """
import sys
from abc_hf.cli import main
from abc_hf.library import ray_job
ray_job.TASK = ray_job.SHARD = 20
sys.exit(main(sys.argv[1:]))
"""


def many(photo, tmp_path, count: int) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    first = photo(64, 48)
    for number in range(count):
        first.save(folder / f"{number:04}.jpg")
    return folder


def wait_for(condition, process, seconds: float = 1500):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, "it ended too early"
        time.sleep(0.2)


def noted(out: Path) -> bool:
    """Whether the checkpoint has photos of this run."""
    return any(".pending" not in path.name for path in out.glob("checkpoint-*/*.parquet"))


def each_once(out: Path, folder: Path) -> bool:
    return [row["path"] for row in rows_in(out)] == sorted(map(str, folder.glob("*.jpg")))
