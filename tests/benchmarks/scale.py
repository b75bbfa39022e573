"""What a library of 100,000 photos costs `abc-fusenet sort` beside the photos themselves: memory, and time a photo.

    python tests/benchmarks/scale.py --out tests/benchmarks/results

Tiny photos, all different, are written to a Parquet file (or `--kinds` of others) in a temporary folder, and sorted
with a stub of a network and without thumbnails. So the time is that of all else: finding and opening photos, the
journal, table and report. Writes scale.json. Needs Linux, which tells of the
memory of processes.
"""

import argparse
import io
import multiprocessing
import os
import platform
import re
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import ExifTags, Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from abc_hf import VARIANTS, ABCFuseNetConfig, ABCFuseNetForBlurUnderstanding, ABCFuseNetImageProcessor
from abc_hf.evaluation.results import write_json
from abc_hf.inference.engines import ENGINES
from abc_hf.library import sort

SIDE = 32
"""The long side of photos, and the working size [pixels]."""
MARKS = (0.1, 0.5, 1.0)
"""When memory is looked at, as shares of the photos."""
ROW_GROUP = 100
"""Rows that a Parquet file of `datasets` has in a group."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="photos")
    parser.add_argument("--kinds", nargs="+", choices=list(WRITERS), default=["parquet"], help="where the photos are")
    parser.add_argument("--workers", type=int, default=1, help="as of `abc-fusenet sort`")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    result = {"machine": f"{os.cpu_count()} CPU cores ({platform.machine()})", "photos": args.count}
    for kind in args.kinds:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:  # its memory is nobody else's
            result[kind] = alone.submit(measure, kind, args.count, args.workers).result()
        print(f"{kind}: {result[kind]}")
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "scale.json", result)


def photos(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Names and files of photos of one camera, ten seconds apart."""
    exif, rng = Image.Exif(), np.random.default_rng(seed)
    exif[ExifTags.Base.Model] = "Camera"
    for number in range(count):
        taken = datetime(2024, 1, 1) + timedelta(seconds=10 * number)
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        file = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        coarse.resize((SIDE, SIDE * 3 // 4), Image.Resampling.BILINEAR).save(file, "jpeg", exif=exif)
        yield f"{number:06}.jpg", file.getvalue()


def write_folder(path: Path, count: int) -> Path:
    for name, data in photos(count):
        file = path / name[:3] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


def write_zip(path: Path, count: int) -> Path:
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in photos(count):
            archive.writestr(name, data)
    return path


def write_tar(path: Path, count: int) -> Path:
    path = path.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        for name, data in photos(count):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def write_parquet(path: Path, count: int, seed: int = 0) -> Path:
    path = path.with_suffix(".parquet")
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    with pq.ParquetWriter(path, schema) as file:
        rows = [{"image": {"bytes": data, "path": name}} for name, data in photos(count, seed)]
        file.write_table(pa.Table.from_pylist(rows, schema), row_group_size=ROW_GROUP)
    return path


WRITERS = {"parquet": write_parquet, "zip": write_zip, "tar": write_tar, "folder": write_folder}


def stub(model, at_once=1) -> Callable:
    """An engine whose answers depend on the photo and cost nothing."""

    def run(pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        mean, maps = pixel_values.mean((1, 2, 3)), torch.sigmoid(pixel_values.mean(1, keepdim=True))
        logits = torch.stack([mean, -mean, 0 * mean, 0.5 * mean], 1)
        return {"logits": logits, "kind_logits": logits[:, :3], "blur_map": maps, "attention_map": maps}

    return run


class Measured(sort.Sort):
    """Looks at the clock and at the memory now and then."""

    marks, looks, start = (), {}, 0.0

    def take_stock(self, name: str):
        workers = [peak(child.pid) for child in multiprocessing.active_children()]
        self.looks[name] = {"seconds": time.perf_counter() - self.start, "megabytes": peak(os.getpid())}
        self.looks[name] |= {"megabytes_of_workers": sum(workers)}

    def find(self, sources):
        self.done = 0
        super().find(sources)
        self.take_stock("found")

    def judge_batch(self, batch):
        rows = super().judge_batch(batch)
        self.done += len(batch)
        if self.done in self.marks:
            self.take_stock(f"judged {self.done}")
        return rows

    def finish(self, **options):
        status = super().finish(**options)
        self.take_stock("finished")
        return status


def peak(process: int) -> float:
    """The most memory a process ever had [MB]; 0 if it has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except FileNotFoundError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def measure(kind: str, count: int, workers: int) -> dict:
    """Seconds since the start, and megabytes at the most until then, when all photos are found, when shares of them are
    judged, and at the end; and seconds of the same command when there is nothing new."""
    torch.set_num_threads(1)
    sort.Sort, ENGINES["stub"] = Measured, stub
    Measured.marks = [round(count * mark) for mark in MARKS]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS["tiny"])).save_pretrained(folder / "model")
        ABCFuseNetImageProcessor(size={"longest_edge": SIDE}).save_pretrained(folder / "model")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            source = other.submit(WRITERS[kind], folder / "photos", count).result()
        options = {"model": folder / "model", "device": "cpu", "engine": "stub", "workers": workers}
        for looks in (first := {}, again := {}):
            Measured.looks, Measured.start = looks, time.perf_counter()
            assert sort.sort_library([str(source)], folder / "sorted", **options) == 0
        return first | {"again": again["finished"]}


if __name__ == "__main__":
    main()
