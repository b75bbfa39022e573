"""What Ray costs beside the photos: rows per second of an actor as a share of the same work without Ray, and memory.

    python tests/benchmarks/ray_scale.py --photos FOLDER --out tests/benchmarks/results

Tiny photos, all different, are written to Parquet files in a temporary folder. A stub of a network judges them: first
by as many processes as there are cores, then by `abc-fusenet sort --ray`. The same is done with the real photos of a
folder and the bundled weights. Writes ray.json. Needs the extra `ray`, and Linux, which tells of memory.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[2]))

from abc_hf import VARIANTS, ABCFuseNetConfig, ABCFuseNetForBlurUnderstanding, ABCFuseNetImageProcessor
from abc_hf.evaluation.results import write_json
from abc_hf.inference.engines import ENGINES
from abc_hf.inference.processes import cores
from abc_hf.library import ray_job
from tests.benchmarks import scale

SIDE = 64
LOG = "ABC_SCALE_LOG"
"""The variable that names the folder in which actors note what they did."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="tiny photos")
    parser.add_argument("--photos", type=Path, help="a folder of real photos, judged by the bundled weights")
    parser.add_argument("--plain", type=float, default=0.1, help="the part of the photos that is judged without Ray")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    ray_job.Judge = Noted  # type: ignore[misc]
    result: dict = {"machine": f"{cores()} CPU cores ({platform.machine()})"}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS["tiny"])).save_pretrained(model)
        ABCFuseNetImageProcessor(size={"longest_edge": SIDE}).save_pretrained(model)
        scale.SIDE, source = SIDE, Path(folder) / "photos"
        source.mkdir()
        part = min(10_000, args.count)
        for number in range(args.count // part):
            scale.write_parquet(source / f"{number:04}", part, number)
        result["stub"] = measure(source, args.plain, {"model": model, "engine": "stub"})
    if args.photos:
        result["real"] = measure(args.photos, args.plain, {})
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "ray.json", result)
    print(json.dumps(result, indent=1))


class Noted(ray_job.Judge):
    """Notes each batch: when it began and ended, CPU seconds, and memory."""

    def __init__(self, **options):
        ENGINES["stub"] = scale.stub
        super().__init__(**options)

    def __call__(self, table: pa.Table) -> pa.Table:
        start, cpu = time.time(), time.process_time()
        rows = super().__call__(table)
        done = {"start": start, "end": time.time(), "cpu": time.process_time() - cpu, "rows": len(table)}
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        with open(Path(os.environ[LOG]) / f"{os.getpid()}.jsonl", "a") as file:
            file.write(json.dumps(done | {"megabytes": resident / 2**20}) + "\n")
        return rows


def measure(source: Path, share: float, options: dict) -> dict:
    """Rows per second of a process without Ray and of an actor, and the memory of actors on the way."""
    tasks = list(ray_job.tasks_of(ray_job.find_photos([str(source)], print, look_into=ray_job.as_one)))
    tables = [table for task in tasks[: max(1, round(share * len(tasks)))] for table in ray_job.names(*task)]
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name in ("plain", "ray"):
            os.environ[LOG] = str(Path(folder) / name)
            Path(os.environ[LOG]).mkdir()
            start = time.time()
            if name == "plain":
                with ProcessPoolExecutor(cores(), multiprocessing.get_context("spawn")) as pool:
                    for each in [pool.submit(judge_plainly, tables[n :: cores()], options) for n in range(cores())]:
                        each.result()
            else:
                ray_job.sort_on_ray([str(source)], Path(folder) / "out", device="cpu", **options)
            found[name] = summary(Path(os.environ[LOG]), start)
        manifest = json.loads((Path(folder) / "out" / "manifest.json").read_text())
    assert manifest["photos"] == found["ray"]["rows"]
    share_of = {key: found["ray"][key] / found["plain"][key] for key in ("rows_per_second", "rows_per_cpu_second")}
    return {"photos": manifest["photos"], **found, "share": share_of}


def judge_plainly(tables: list[pa.Table], options: dict) -> None:
    import torch

    torch.set_num_threads(1)
    judge = Noted(**options, device="cpu")
    for table in tables:
        judge(table)


def summary(folder: Path, start: float) -> dict:
    """Of all processes: how fast one of them was between its first and its last batch, and memory at 10, 50, 100 %."""
    logs = [[json.loads(line) for line in path.read_text().splitlines()] for path in folder.iterdir()]
    logs = [log for log in logs if log]
    rows = sum(batch["rows"] for log in logs for batch in log)
    seconds = sum(log[-1]["end"] - log[0]["start"] for log in logs)
    cpu = sum(batch["cpu"] for log in logs for batch in log)
    memory = [max(log[min(len(log) - 1, int(len(log) * part))]["megabytes"] for log in logs) for part in (0.1, 0.5, 1)]
    return {
        "rows": rows,
        "processes": len(logs),
        "rows_per_second": rows / seconds,
        "rows_per_cpu_second": rows / cpu,
        "seconds_to_the_first_batch": min(log[0]["start"] for log in logs) - start,
        "megabytes": memory,
    }


if __name__ == "__main__":
    main()
