"""`abc-fusenet sort` and `abc-fusenet watch`."""

import argparse
import glob
import os
from importlib.util import find_spec
from pathlib import Path

from ..verdicts import STARS, THRESHOLD
from .options import finite_or_file, positive, sharpness, star_scores
from .output import say

HERE = "here"
"""The value of --ray without an address: Ray on this machine."""


def add_actions(command: argparse.ArgumentParser):
    """Add the options of `sort` that act on the photos."""
    group = command.add_argument_group(
        "actions", "Off unless asked for; each leaves an undo file in --out. The photos themselves are never changed."
    )
    place = group.add_mutually_exclusive_group()
    place.add_argument("--copy-to", type=Path, metavar="DIR", help="copy photos into a folder per label")
    place.add_argument("--move-to", type=Path, metavar="DIR", help="move photos into a folder per label")
    place.add_argument("--link-to", type=Path, metavar="DIR", help="make hard links to photos in a folder per label")
    group.add_argument("--xmp", action="store_true", help="write sidecars with rating, colour label and keywords")
    group.add_argument(
        "--decisions",
        type=Path,
        metavar="FILE",
        help="the file that the report exports: kept photos go to `kept`, and rejected ones are moved to `rejected`, "
        "never copied or linked",
    )
    group.add_argument(
        "--threshold",
        type=finite_or_file,
        default=THRESHOLD,
        metavar="T",
        help="photos that score less are flagged `reject`, and keep their label (default: %(default)s); or "
        "decisions.csv, from which the threshold is learned",
    )
    group.add_argument(
        "--reject-soft",
        type=sharpness,
        metavar="S",
        help="photos whose eyes, or else subject, are less sharp than S at 100 %% are flagged `reject`, too: 0.7 is a "
        "blur with a radius of 2 pixels, 0.45 one of 4; the verdict stays (default: none is flagged for it)",
    )
    group.add_argument(
        "--dataset",
        type=Path,
        metavar="DIR",
        help="write the photos of --decisions as a data set to train and evaluate",
    )
    group.add_argument("--rejects", action="store_true", help="flagged photos go to `rejected`")
    group.add_argument(
        "--review", action="store_true", help="photos whose verdict is not certain go to `review`, flagged or not"
    )
    group.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="FOLDER",
        help="act only on photos that go to this folder, such as bad-blur, rejected or review; may be given again",
    )
    group.add_argument("--only-certain", action="store_true", help="act only on photos whose verdict is certain")
    group.add_argument(
        "--best",
        type=positive,
        metavar="N",
        help="keep the N sharpest shots of a burst; flag the others (see --rejects)",
    )
    group.add_argument(
        "--stars",
        type=star_scores,
        default=STARS,
        metavar="A,B,C,D",
        help="the scores from which sidecars give 2, 3, 4 and 5 stars (default: 0.125,0.375,0.625,0.875)",
    )
    group.add_argument("--dry-run", action="store_true", help="list the actions, and do nothing")
    group.add_argument("--undo", type=Path, metavar="FILE", help="take back the actions in this undo file, and end")


def check_sort(args: argparse.Namespace) -> None:
    """Complete the options of `sort`, and raise ValueError for a wrong one. This takes no torch."""
    if args.undo:
        return
    if args.report:
        if args.photos or args.out or args.ray:
            raise ValueError("--report makes the report of a finished `sort --ray`; give it that folder alone.")
        args.out, args.photos = args.report, [str(args.report)]
    if not args.photos:
        raise ValueError("Name a folder or photos to sort, or give --undo FILE alone.")
    args.out = args.out or beside(args.photos)
    check_folder(args.out, "--out")
    if isinstance(args.threshold, Path):
        from ..library.decisions import learned_threshold, read_decisions

        args.threshold, sentence = learned_threshold(args.out, read_decisions(args.threshold))
        say(sentence)
    if args.dataset and not args.decisions:
        raise ValueError("--dataset goes with --decisions, which the report exports.")
    args.request = action_request(args)
    if args.ray and (args.request or args.dataset or args.reject_soft or args.single_file or args.verify_content):
        raise ValueError("--ray judges alone: actions and --reject-soft go with --report, later.")


def beside(sources: list[str]) -> Path:
    """The folder for results beside the one folder, or archive, that is named: `Pictures-sorted` beside `Pictures`."""
    source = Path(sources[0]).resolve()
    if len(sources) == 1 and not (source.exists() or "://" in sources[0] or glob.has_magic(sources[0])):
        raise ValueError(f"{sources[0]}: there is no such file or folder.")
    if len(sources) > 1 or not source.exists() or source == source.parent:
        raise ValueError("Name the folder to write to with --out; only for one folder or archive it can be left out.")
    return source.with_name(f"{source.name if source.is_dir() else source.name.partition('.')[0]}-sorted")


def check_folder(path: Path, option: str) -> None:
    """Raise ValueError if a path cannot be a folder."""
    if not path.is_dir() and (os.path.lexists(path) or any(part.is_file() for part in path.parents)):
        raise ValueError(f"{option} {path} cannot be a folder, because a file has that name; choose another one.")


def sort(args: argparse.Namespace) -> int:
    from ..library.actions import act, undo
    from ..library.decisions import read_decisions, write_dataset
    from ..library.sort import refresh, sort_library

    if args.undo:
        status = undo(args.undo, args.dry_run)
        if not args.dry_run:
            refresh(args.undo.absolute().parent)
        return status

    if args.ray or args.report:
        status = on_ray(args)
    else:
        options = sort_options(args) | {
            "verify_content": args.verify_content,
            "single_file": args.single_file,
            "reject_soft": args.reject_soft,
        }
        status = sort_library(args.photos, args.out, threshold=args.threshold, **options)
    if status == 130:
        return status
    if args.dataset:
        counts = write_dataset(args.out, read_decisions(args.decisions), args.dataset)
        splits = ", ".join(f"{count} {split}" for split, count in counts.items())
        say(f"{args.dataset}: a data set of {counts.total()} photos ({splits}).")
    if not args.request:
        return status
    status = max(status, act(args.out, args.request, args.dry_run))
    if args.request.kind == "move" and not args.dry_run:
        refresh(args.out)
    return status


def on_ray(args: argparse.Namespace) -> int:
    """`sort --ray`, and `sort --report`."""
    if not find_spec("ray"):
        raise ImportError('Ray is not installed; run `pip install "abc-fusenet[ray]"`.')
    from ..library.ray_job import report_rows, sort_on_ray

    if args.report:
        return report_rows(args.report, args.most, args.threshold, args.reject_soft)
    options = {name: value for name, value in sort_options(args).items() if name != "prune"}
    return sort_on_ray(args.photos, args.out, None if args.ray == HERE else args.ray, **options)


def action_request(args: argparse.Namespace):
    """The `Request` that the options of `add_actions` make. None without such an option."""
    from ..library.decisions import read_decisions
    from ..library.plan import Request

    folders = {"copy": args.copy_to, "move": args.move_to, "link": args.link_to}
    kind = next((kind for kind, to in folders.items() if to), None)
    to = folders[kind] if kind else None
    if not kind and (args.review or args.rejects):
        raise ValueError("--review and --rejects go with --copy-to, --move-to or --link-to; add one.")
    if not (kind or args.xmp):
        if (args.decisions and not args.dataset) or args.dry_run or args.only or args.only_certain:
            raise ValueError(
                "--decisions, --only, --only-certain and --dry-run go with --copy-to, --move-to, --link-to or --xmp; "
                "add one."
            )
        return None
    if to:
        check_folder(to, f"--{kind}-to")
    decisions = args.decisions and read_decisions(args.decisions)
    same = ("xmp", "threshold", "reject_soft", "only_certain", "best", "stars")
    return Request(
        kind,
        to,
        decisions=decisions,
        review=args.review or "review" in args.only,
        rejects=args.rejects or args.best is not None or ("rejected" in args.only and not decisions),
        only=tuple(args.only),
        tops=tuple(Path(source).absolute() for source in args.photos if Path(source).is_dir()),
        **{name: getattr(args, name) for name in same},
    )


def watch(args: argparse.Namespace) -> int:
    from ..library.watch import watch_library

    watch_library(args.photos, args.out, **sort_options(args))
    return 0


def sort_options(args: argparse.Namespace) -> dict:
    names = ("model", "device", "engine", "batch_size", "workers", "prune")
    return {name: getattr(args, name) for name in names}
