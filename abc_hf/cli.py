"""The command `abc-fusenet`; `python -m abc_hf.cli` is the same."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import textwrap
from pathlib import Path

from tqdm import tqdm

from . import __version__, _end
from .photos import PHOTO_EXTENSIONS, PhotoError
from .verdicts import THRESHOLD

# What imports torch is imported by the function that needs it, so that help comes at once.

PROGRAM = "abc-fusenet"
COLUMNS = "{:{width}}  {:9}  {:>5}  {:>7}  {:>10}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 1 if something failed."""
    args = build_parser().parse_args(argv)
    if sys.stdout is None:  # closed by whoever started it
        sys.stdout = open(os.devnull, "w")
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        quiet_transformers()
        with interruptible():
            status = args.command(args)
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, ImportError, OSError) as error:
        complain(error)
        return 1
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # of torch, which may not be imported
            raise
        complain("there is not enough memory on the device; lower --batch-size, or use --device cpu.")
        return 1
    except KeyboardInterrupt:
        return 130


def quiet_transformers() -> None:
    """Import it, and the network, before `interruptible`; have it say nothing but errors."""
    from transformers.utils import logging

    from . import registration  # noqa: F401

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextlib.contextmanager
def interruptible():
    """In here Ctrl-C is KeyboardInterrupt. Before and after, in a process of this command, it ends that at once."""
    ours = signal.getsignal(signal.SIGINT) is _end
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, _end)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Where a photo is blurred, and whether that is wanted.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "assess",
        help="judge the blur in photos",
        description="Judge the blur in photos. The exit status is 1 if one of them cannot be opened; the rest go on.",
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
        "command goes on where it was interrupted, and judges only what is new or changed. The exit status is 1 if "
        "something cannot be opened; the rest goes on. On several devices or machines: `accelerate launch -m "
        "abc_hf.sort ...`.",
    )
    sort_command.set_defaults(command=sort)
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
            help="a folder and those below, a photo, a glob, a zip, tar or Parquet file, or a URL: hf://datasets/NAME",
        )
        each.add_argument(
            "--out", type=Path, required=each is watch_command, metavar="DIR", help="the folder to write to"
        )
        each.add_argument(
            "--batch-size", type=positive, metavar="N", help="photos judged at a time (default: 1 on a CPU, else 16)"
        )
        each.add_argument(
            "--workers", type=whole, metavar="N", help="processes that open photos; 0 for none of their own"
        )
    sort_command.add_argument(
        "--verify-content", action="store_true", help="tell changed photos by their content, not by size and time"
    )
    sort_command.add_argument(
        "--single-file", action="store_true", help="the report as one file with all its pictures, up to 500 photos"
    )
    add_actions(sort_command)

    score = commands.add_parser(
        "evaluate",
        help="score a model, or blur maps of any program, on a data set",
        description="Score a model, or blur maps of any program, on a data set in the SmartBlur schema: results.json "
        "and figures. On several devices: `accelerate launch -m abc_hf.cli evaluate ...`.",
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
    demo.set_defaults(command=run_demo)

    for each in (command, sort_command, watch_command):
        each.add_argument(
            "--engine", default="torch", help="what runs it on a CPU: torch, bf16, openvino (default: %(default)s)"
        )
    for each in (command, sort_command, watch_command, exporter, demo):
        each.add_argument("--model", help="a folder or a Hub repository (default: the weights in the package)")
    for each in (command, sort_command, watch_command, score, demo):
        each.add_argument("--device", help="such as cpu or cuda:0 (default: an accelerator if there is one)")
    return parser


def add_actions(command: argparse.ArgumentParser):
    """The options of `sort` that do something with the photos."""
    group = command.add_argument_group(
        "actions", "Off unless asked for; each leaves an undo file in --out. The photos themselves are never changed."
    )
    place = group.add_mutually_exclusive_group()
    place.add_argument("--copy-to", type=Path, metavar="DIR", help="copy photos into a folder per verdict")
    place.add_argument("--move-to", type=Path, metavar="DIR", help="move them there")
    place.add_argument("--link-to", type=Path, metavar="DIR", help="make hard links there")
    group.add_argument("--xmp", action="store_true", help="write sidecars with rating, colour label and keywords")
    group.add_argument(
        "--decisions",
        type=Path,
        metavar="FILE",
        help="what the report exported: kept photos go to `kept`, rejected ones are moved to `rejected`, and neither "
        "copied nor linked",
    )
    group.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        metavar="T",
        help="photos that score less are bad-blur, as in the report (default: %(default)s)",
    )
    group.add_argument("--dry-run", action="store_true", help="say what the actions would do, and do nothing")
    group.add_argument("--undo", type=Path, metavar="FILE", help="take back what this undo file tells of, and end")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text}")
    return int(text)


def whole(text: str) -> int:
    return 0 if text == "0" else positive(text)


def port(text: str) -> int:
    if positive(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is at most 65535, got {text}")
    return int(text)


def assess(args: argparse.Namespace) -> int:
    from .pipeline import load_pipeline

    photos, empty = expand(args.photos)
    if args.save and any(photo.parent.resolve() == args.save.resolve() for photo in photos):
        raise ValueError(f"--save {args.save} is a folder of photos to assess; choose another one.")
    if args.save and args.save.exists() and not args.save.is_dir():
        raise ValueError(f"--save {args.save} is a file; choose a folder.")
    pipe = load_pipeline(args.model, device=args.device, engine=args.engine)
    reports = pipe((photo for photo in photos), batch_size=args.batch_size, on_error="return")
    stems = unique_stems(photos)
    width = min(40, max((len(printable(photo)) for photo in photos), default=5))
    objects = [{"file": str(folder), "error": f"{folder}: {reason}"} for folder, reason in empty.items()]
    for entry in objects:
        complain(entry["error"])
    if not args.json:
        print(COLUMNS.format("photo", "verdict", "score", "subject", "background", width=width))
    reports = tqdm(reports, total=len(photos), unit="photo", disable=None)
    for photo, stem, report in zip(photos, stems, reports, strict=True):
        try:
            if isinstance(report, PhotoError):
                raise report
            if args.save:
                report.save(args.save, stem)
        except (PhotoError, OSError) as error:
            objects.append({"file": str(photo), "error": str(error)})
            complain(error)
            continue
        objects.append({"file": str(photo), **report.to_dict()})
        if not args.json:
            tqdm.write(table_row(photo, report, width))
    if args.json:
        print(json.dumps(objects, indent=2))
    return int(any("error" in entry for entry in objects))


def expand(names: list[str]) -> tuple[list[Path], dict[Path, str]]:
    """The photos named, for a folder those in it (not in folders below) by name; and the folders that gave none, why.

    Hidden files are left out of a folder: what macOS keeps beside IMG.jpg is named ._IMG.jpg and is no photo.
    """
    photos, empty = [], {}
    for path in map(Path, names):
        if not os.path.isdir(path):  # False for names no file can have, too
            photos.append(path)
            continue
        try:
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in PHOTO_EXTENSIONS)
            found = [file for file in found if not file.name.startswith(".") and not file.is_dir()]
        except OSError as error:
            empty[path] = f"the folder cannot be read ({error.strerror})."
            continue
        photos += found
        if not found:
            empty[path] = "the folder holds no photos."
    return photos, empty


def unique_stems(photos: list[Path]) -> list[str]:
    """A name without extension for what is written of each photo: its own, with a number if it is taken."""
    stems = {}
    for photo in photos:
        stem, number = photo.stem, 2
        while stem.lower() in stems:  # not every file system tells A from a
            stem, number = f"{photo.stem}-{number}", number + 1
        stems[stem.lower()] = stem
    return list(stems.values())


def table_row(photo: Path, report, width: int) -> str:
    """The two lines of a photo and its `BlurReport`."""
    name = printable(photo)
    name = name if len(name) <= width else f"...{name[3 - width :]}"
    figures = (f"{value:.2f}" for value in (report.score, report.blur_on_subject, report.blur_on_background))
    reason = textwrap.fill(
        report.reason, shutil.get_terminal_size().columns - 1, initial_indent="  ", subsequent_indent="  "
    )
    return COLUMNS.format(name, report.label, *figures, width=width) + "\n" + reason


def printable(text: object) -> str:
    """Text in one line, whatever a file name holds: line breaks, escape sequences and broken UTF-8 are spelt out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def complain(error: Exception | str) -> None:
    tqdm.write(f"{PROGRAM}: {printable(error)}", file=sys.stderr)


def sort(args: argparse.Namespace) -> int:
    with sort_packages():
        from .actions import act, undo
        from .sort import share, sort_library
    if args.undo:
        return undo(args.undo, args.dry_run, say, complain)
    if not (args.photos and args.out):
        raise ValueError("Name what to sort, and the folder to write to with --out; or give --undo FILE alone.")
    request = action_request(args)
    options = sort_options(args) | {"verify_content": args.verify_content, "single_file": args.single_file}
    status = sort_library(args.photos, args.out, **options)
    if status == 130 or share()[0] or not request:
        return status
    return max(status, act(args.out, request, args.dry_run, say, complain))


def action_request(args: argparse.Namespace):
    """The `Request` of the options of `add_actions`, None if there is none."""
    from .actions import Request, read_decisions

    folders = {"copy": args.copy_to, "move": args.move_to, "link": args.link_to}
    kind = next((kind for kind, to in folders.items() if to), None)
    to = folders.get(kind)
    if not (kind or args.xmp):
        if args.decisions or args.dry_run:
            raise ValueError("--decisions and --dry-run go with --copy-to, --move-to, --link-to or --xmp; add one.")
        return None
    if to and to.exists() and not to.is_dir():
        raise ValueError(f"--{kind}-to {to} is a file; choose a folder.")
    return Request(kind, to, args.xmp, args.decisions and read_decisions(args.decisions), args.threshold)


def watch(args: argparse.Namespace) -> int:
    with sort_packages():
        from .watch import watch_library
    return watch_library(args.photos, args.out, **sort_options(args))


@contextlib.contextmanager
def sort_packages():
    """Turns a package of the extra `sort` that is missing into a sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("imagehash", "lxml", "pyarrow"):
            raise
        raise ImportError('Sorting needs more packages; run `pip install "abc-fusenet[sort]"`.') from None


def sort_options(args: argparse.Namespace) -> dict:
    names = ("model", "device", "engine", "batch_size", "workers")
    return {name: getattr(args, name) for name in names} | {"complain": complain, "say": say}


def say(sentence: str) -> None:
    tqdm.write(printable(sentence))


def evaluate(args: argparse.Namespace) -> int:
    if not args.compare and not (args.dataset and (args.model or args.predictions)):
        raise ValueError("Give MODEL, --predictions or both, with --dataset; or --compare and results.json files.")
    if args.compare and (args.model or args.predictions or args.dataset):
        raise ValueError("--compare takes results.json files alone; leave MODEL, --predictions and --dataset out.")
    if args.save_maps and not args.model:
        raise ValueError("--save-maps writes the maps of a MODEL; give one.")
    try:
        import datasets

        from .results import compare, evaluate_to_folder, table
    except ModuleNotFoundError as error:
        if error.name not in ("accelerate", "datasets", "sklearn"):
            raise
        raise ImportError('Evaluation needs more packages; run `pip install "abc-fusenet[train]"`.') from None
    if args.compare:
        print(compare(args.compare, args.out, args.peer_curves))
        return 0
    datasets.disable_progress_bars()
    results = evaluate_to_folder(
        args.model,
        args.dataset,
        args.split,
        args.out,
        predictions=args.predictions,
        peer_curves=args.peer_curves,
        save_maps=args.save_maps,
        max_samples=args.max_samples,
        device=args.device,
    )
    if results:  # on the main process
        print(table(results))
    return 0


def export_model(args: argparse.Namespace) -> int:
    from .export import FILES, export
    from .pipeline import load_pipeline

    pipe = load_pipeline(args.model, device="cpu")
    difference = export(pipe.model, pipe.image_processor, args.format, args.out)
    file = printable(args.out / FILES[args.format])
    print(f"{file} differs from PyTorch by {difference:.1g} at most; README.md beside it says how it is run.")
    return 0


def run_demo(args: argparse.Namespace) -> int:
    from .engines import one_arena

    one_arena()
    try:
        from .demo import build_demo, launch
        from .pipeline import load_pipeline
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ImportError('The demo needs Gradio; run `pip install "abc-fusenet[demo]"`.') from None
    page = build_demo(load_pipeline(args.model, device=args.device))
    launch(page, mcp=args.mcp, server_port=args.port, share=args.share, inbrowser=not args.no_browser)
    return 0


if __name__ == "__main__":
    sys.exit(main())
