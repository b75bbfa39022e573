"""The command `abc-fusenet`; `python -m abc_hf` is the same.

Functions import torch only when they need it. So help comes at once.
"""

import argparse
import contextlib
import io
import os
import signal
import sys
from pathlib import Path

from .. import __version__
from ..common.text import first_line
from .assess import assess
from .demo import run_demo
from .evaluate import evaluate
from .export import export_model
from .library import HERE, add_actions, check_sort, sort, watch
from .options import port, positive, whole
from .output import PROGRAM, complain, sentences_shown


def program() -> int:
    """The program `abc-fusenet`: `main`, and Ctrl-C ends it without a traceback while it imports torch."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
    return main()


def end_at_once(*_) -> None:
    os._exit(130)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 1 if something failed."""
    args = build_parser().parse_args(argv)
    if sys.stdout is None:  # the calling program closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # open until the program ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        args.check(args)
        quiet_transformers()
        with interruptible(), sentences_shown():
            status = args.command(args)
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        complain(f"{first_line(error)}.")
        return 1
    except (ValueError, ImportError) as error:
        complain(error)
        return 1
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # of torch; comparing names does not import torch
            raise
        complain("there is not enough memory on the device; lower --batch-size, or use --device cpu.")
        return 1
    except KeyboardInterrupt:
        return 130


def quiet_transformers() -> None:
    """Import transformers and the network before `interruptible`, and let transformers report only errors."""
    from transformers.utils import logging

    from .. import registration  # noqa: F401

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextlib.contextmanager
def interruptible():
    """In here Ctrl-C raises KeyboardInterrupt. Before and after, Ctrl-C ends the program `abc-fusenet` at once."""
    ours = signal.getsignal(signal.SIGINT) is end_at_once
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, end_at_once)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Where a photo is blurred, and whether that is wanted.")
    parser.set_defaults(check=lambda args: None)  # of a command's options, before torch is imported
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "assess",
        help="judge the blur in photos",
        description="Judge the blur in photos. A photo that cannot be opened is named, and the exit status is 1 then.",
    )
    command.add_argument("photos", nargs="+", metavar="PHOTO", help="a photo, or a folder of photos")
    command.add_argument("--json", action="store_true", help="print one JSON list, an object per photo")
    command.add_argument("--save", type=Path, metavar="DIR", help="write maps, figures and reports to this folder")
    command.add_argument("--batch-size", type=positive, default=1, metavar="N", help="photos judged at a time")
    command.set_defaults(command=assess)

    sort_command = commands.add_parser(
        "sort",
        help="judge a photo library of any size, and write a table of it",
        description="Judge a photo library of any size: a table in Parquet and CSV, and a report to look at. The same "
        "command goes on where it was interrupted, and judges only new and changed photos. The exit status is 1 if "
        "something cannot be opened; the others are judged all the same.",
    )
    sort_command.set_defaults(command=sort, check=check_sort)
    watch_command = commands.add_parser(
        "watch",
        help="judge photos as they arrive in folders",
        description="Judge photos as they arrive, into the table that `sort` writes, until Ctrl-C.",
    )
    watch_command.set_defaults(command=watch)
    for each in (sort_command, watch_command):
        each.add_argument(
            "photos",
            nargs="*" if each is sort_command else "+",
            metavar="FOLDER",
            help="a folder, a photo, a pattern such as *.jpg, a zip, tar or Parquet file, or a URL: hf://datasets/NAME",
        )
        each.add_argument(
            "--out",
            type=Path,
            required=each is watch_command,
            metavar="DIR",
            help="the folder to write to" + (" (default: FOLDER-sorted)" if each is sort_command else ""),
        )
        each.add_argument(
            "--batch-size", type=positive, metavar="N", help="photos judged at a time (default: 1 on a CPU, else 16)"
        )
        each.add_argument(
            "--workers",
            type=whole,
            metavar="N",
            help="processes that open photos, within limits of time and memory; 0 for none, and no such limits",
        )
        each.add_argument(
            "--prune",
            action="store_true",
            help="drop photos from the table if their folder, archive or disk is missing; without it they stay",
        )
    sort_command.add_argument(
        "--verify-content", action="store_true", help="tell changed photos by their content, not by size and time"
    )
    sort_command.add_argument(
        "--single-file", action="store_true", help="the report as one file with all its pictures, up to 500 photos"
    )
    sort_command.add_argument(
        "--ray",
        nargs="?",
        const=HERE,
        metavar="ADDRESS",
        help="judge on a Ray cluster (default: this machine), into Parquet files",
    )
    sort_command.add_argument(
        "--report", type=Path, metavar="OUT", help="make table and report from the files of --ray"
    )
    sort_command.add_argument(
        "--most", type=positive, default=100_000, metavar="N", help="photos of --report (default: %(default)s)"
    )
    add_actions(sort_command)

    score = commands.add_parser(
        "evaluate",
        help="score a model, or blur maps of any program, on a data set",
        description="Score a model, or blur maps of any program, on a data set in the SmartBlur schema: results.json "
        "and figures. On several devices: `accelerate launch -m abc_hf evaluate ...`.",
    )
    score.add_argument(
        "model", nargs="?", metavar="MODEL", help='a folder, a Hub repository, or "bundled": the weights in the package'
    )
    score.add_argument("--dataset", metavar="NAME_OR_FOLDER", help="a data set in the SmartBlur schema")
    score.add_argument("--split", default="test", help="(default: %(default)s)")
    score.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    score.add_argument("--predictions", type=Path, metavar="DIR", help="score these blur maps: STEM.png or STEM.npy")
    score.add_argument("--save-maps", type=Path, metavar="DIR", help="write the model's blur maps here, as STEM.npy")
    score.add_argument("--max-samples", type=positive, metavar="N", help="score N photos, evenly spread over the split")
    score.add_argument("--peer-curves", type=Path, metavar="DIR", help="published curves for the figure of all photos")
    score.add_argument(
        "--compare", nargs="+", type=Path, metavar="JSON", help="put results.json files of the same photos side by side"
    )
    score.set_defaults(command=evaluate)

    exporter = commands.add_parser(
        "export",
        help="write the network for ONNX Runtime or OpenVINO",
        description="Write the network for ONNX Runtime or OpenVINO, for any number of photos of any size, with a "
        "README.md that says how it is run without this package. It is checked against PyTorch on real photos.",
    )
    exporter.add_argument("--format", choices=["onnx", "openvino"], required=True)
    exporter.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    exporter.set_defaults(command=export_model)

    demo = commands.add_parser("demo", help="open the demo in a browser", description="Open the demo in a browser.")
    demo.add_argument("--port", type=port, help="port to serve on (default: 7860, or the next one free)")
    demo.add_argument("--share", action="store_true", help="make a public link, through Gradio's servers")
    demo.add_argument("--mcp", action="store_true", help="serve its endpoints as MCP tools, too")
    demo.add_argument("--no-browser", action="store_true", help="do not open a browser")
    demo.add_argument(
        "--static", type=Path, metavar="DIR", help="write a page that judges photos in the browser, instead"
    )
    demo.set_defaults(command=run_demo)

    for each in (command, sort_command, watch_command, demo):
        each.add_argument(
            "--engine", default="auto", help="runs the network: auto, torch, openvino or bf16 (default: %(default)s)"
        )
    for each in (command, sort_command, watch_command, exporter, demo):
        each.add_argument("--model", help="a folder or a Hub repository (default: the weights in the package)")
    for each in (command, sort_command, watch_command, score, demo):
        each.add_argument("--device", help="such as cpu or cuda:0 (default: an accelerator if there is one)")
    return parser
