"""What Ray costs beside the photos: rows per second of an actor as a share of the same work without Ray, and memory.

    python tests/benchmarks/ray_scale.py --photos FOLDER --large FOLDER --out tests/benchmarks/results

Tiny photos, all different, are written to Parquet files in a temporary folder. A stub of a network judges them, in
`abc-fusenet sort --ray`, and at the same time in a process without Ray. The same is done with the real photos of a
folder and the bundled weights. Of the photos in `--large`, copies of 1 and of 24 megapixels are made, which tell what a
large photo costs. Writes ray.json; what is not measured again stays in it, if the weights are the same. Needs the
extras `ray` and `benchmark`, and Linux, which tells of memory.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[2]))

from abc_hf import (
    VARIANTS,
    ABCFuseNetConfig,
    ABCFuseNetForBlurUnderstanding,
    ABCFuseNetImageProcessor,
    load_pipeline,
)
from abc_hf.evaluation.results import write_json
from abc_hf.inference import engines
from abc_hf.inference.loading import BUNDLED
from abc_hf.inference.processes import cores
from abc_hf.library import ray_job
from hub.render_readme import digest_of_weights
from tests.benchmarks import holiday, scale, speed

SIDE = 64
LOG = "ABC_SCALE_LOG"
"""The variable that names the folder in which actors note what they did."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="tiny photos; 0 leaves these out")
    parser.add_argument("--photos", type=Path, help="a folder of real photos, judged by the bundled weights")
    parser.add_argument("--large", type=Path, help="a folder of some photos of 3 megapixels or more")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    ray_job.Judge = Noted  # type: ignore[misc]
    os.environ |= {"RAY_worker_niceness": "0"}  # as the processes without Ray: what else runs here costs both alike
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "ray.json"
    result: dict = {"machine": f"{cores()} CPU cores ({platform.machine()})", "weights": digest_of_weights(BUNDLED)}
    if file.exists() and (before := json.loads(file.read_text()))["weights"] == result["weights"]:
        result = before | result
    if args.count:
        result["stub"] = measure_stub(args.count)
    if args.photos:
        result["real"] = measure(args.photos, {"engine": "openvino"})  # from the first photo on
    if args.large:
        result["parts"] = measure_parts(args.large)
    write_json(file, result)
    print(json.dumps(result, indent=1))


def measure_stub(count: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS["tiny"])).save_pretrained(model)
        ABCFuseNetImageProcessor(size={"longest_edge": SIDE}).save_pretrained(model)
        scale.SIDE, source = SIDE, Path(folder) / "photos"
        source.mkdir()
        for first in range(0, count, 10_000):
            scale.write_parquet(source / f"{first:07}", min(10_000, count - first), first)
        return measure(source, {"model": model, "engine": "stub"})


class Noted(ray_job.Judge):
    """Notes each batch: when it began and ended, CPU seconds, and memory."""

    def __init__(self, **options):
        engines.ENGINES["stub"] = scale.stub  # `ENGINES` itself would travel to actors as a copy
        super().__init__(**options)

    def __call__(self, table: pa.Table) -> pa.Table:
        start, cpu = time.time(), time.process_time()
        rows = super().__call__(table)
        done = {"start": start, "end": time.time(), "cpu": time.process_time() - cpu, "rows": len(table)}
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        with open(Path(os.environ[LOG]) / f"{os.getpid()}.jsonl", "a") as file:
            file.write(json.dumps(done | {"megabytes": resident / 2**20}) + "\n")
        return rows


def measure(source: Path, options: dict) -> dict:
    """A job on Ray, and beside it a process without Ray that judges the same photos, over and over: whatever else the
    machine does slows both. `share` is an actor's rows per second, of that process's; and of the CPU time of the job
    that of its actors."""
    tasks = list(ray_job.tasks_of(ray_job.find_photos([str(source)], print, look_into=ray_job.as_one)))
    tables = [table for task in tasks[:50] for table in ray_job.names(*task)]
    with tempfile.TemporaryDirectory() as folder:
        logs, out = [Path(folder) / name for name in ("plain", "ray")], Path(folder) / "out"
        for log in logs:
            log.mkdir()
        stop = multiprocessing.get_context("spawn").Event()
        plain = multiprocessing.get_context("spawn").Process(
            target=judge_plainly, args=(tables, options, logs[0], stop), daemon=True
        )
        plain.start()
        os.environ[LOG] = str(logs[1])
        watch = Watch(plain.pid)
        start = time.time()
        ray_job.sort_on_ray([str(source)], out, device="cpu", **options)
        end = time.time()
        stop.set()
        plain.join()
        manifest = json.loads((out / "manifest.json").read_text())
        written = sum(path.stat().st_size for path in out.glob("photos-*/*"))
        batches = read_log(logs[1])
        first, last = batches[0]["start"], max(batch["end"] for batch in batches)
        actors = summary(batches)
        beside = summary([batch for batch in read_log(logs[0]) if batch["end"] >= first and batch["start"] <= last])
        part = watch.share_of_actors({int(path.stem) for path in logs[1].iterdir()}, first, last)
        share = {"rows_per_second": actors["rows_per_second"] / beside["rows_per_second"], "cpu": part}
    assert manifest["photos"] == actors["rows"]
    return {
        "photos": manifest["photos"],
        "plain": beside,
        "ray": actors,
        "share": share,
        "seconds": end - start,
        "seconds_to_the_first_batch": first - start,
        "seconds_after_the_last_batch": end - last,
        "bytes_a_row": written / manifest["photos"],
    }


def judge_plainly(tables: list[pa.Table], options: dict, log: Path, stop) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ[LOG] = str(log)
    judge = Noted(**options, device="cpu")
    for table in itertools.cycle(tables):
        judge(table)
        if stop.is_set():
            return


class Watch(threading.Thread):
    """Looks now and then at the CPU time of this process and of those that it starts.

    Args:
        but: the number of a process that does not count.
    """

    def __init__(self, but: int):
        super().__init__(daemon=True)
        self.but, self.looks = but, []
        self.start()

    def run(self) -> None:
        seconds: dict[int, tuple[list[int], float]] = {}
        while True:
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    family = [process.pid, *(each.pid for each in process.parents())]
                    if self.but not in family:
                        seconds[process.pid] = family, sum(process.cpu_times()[:2])
            self.looks.append((time.time(), dict(seconds)))
            time.sleep(4)

    def share_of_actors(self, actors: set[int], first: float, last: float) -> float:
        """The actors' part of the CPU time between two times, with that of the processes that they start."""
        before = next(look for when, look in self.looks if when >= first)
        after = [look for when, look in self.looks if when <= last][-1]
        spent = [
            (bool(actors & {*family}), seconds - before.get(pid, ((), 0))[1])
            for pid, (family, seconds) in after.items()
        ]
        return sum(seconds for own, seconds in spent if own) / sum(seconds for _, seconds in spent)


def read_log(folder: Path) -> list[dict]:
    """All batches, by time."""
    batches = [
        json.loads(line) | {"process": path.stem} for path in folder.iterdir() for line in path.read_text().splitlines()
    ]
    return sorted(batches, key=lambda batch: batch["start"])


def summary(batches: list[dict]) -> dict:
    """How fast a process was between its first and its last batch, and the most memory at 10, 50 and 100 %."""
    logs = [[each for each in batches if each["process"] == name] for name in {each["process"] for each in batches}]
    rows = sum(batch["rows"] for batch in batches)
    memory = [max(log[min(len(log) - 1, int(len(log) * part))]["megabytes"] for log in logs) for part in (0.1, 0.5, 1)]
    return {
        "rows": rows,
        "processes": len(logs),
        "rows_per_second": rows / sum(log[-1]["end"] - log[0]["start"] for log in logs),
        "rows_per_cpu_second": rows / sum(batch["cpu"] for batch in batches),
        "megabytes": memory,
    }


def measure_parts(photos: Path, count: int = 6, runs: int = 5) -> dict:
    """Megabytes and CPU seconds on one thread, by part, of a photo of 1 and of one of 24 megapixels: the least of some
    runs, because other work on the machine makes CPU time longer, and nothing makes it shorter."""
    pipe, parts = load_pipeline(device="cpu", engine="torch"), {}
    for name, size in speed.SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            files = speed.write_photos(photos, Path(folder) / "photos", size, count)
            stages = [holiday.measure_stages(pipe, files, ["openvino"]) for _ in range(runs)]
            parts[name] = {key: min(each[key] for each in stages) for key in ("prepare", "openvino")}
            parts[name]["megabytes"] = sum(file.stat().st_size for file in files) / len(files) / 1e6
    return parts


if __name__ == "__main__":
    main()
