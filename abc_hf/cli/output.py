"""The output of the commands."""

import shutil
import sys
import textwrap
from pathlib import Path

from tqdm import tqdm

from ..common.text import printable

PROGRAM = "abc-fusenet"
COLUMNS = "{:{width}}  {:9}  {:>5}  {:>7}  {:>10}"


def table_row(photo: Path, report, width: int) -> str:
    """The two lines of a photo and its `BlurReport`."""
    name = printable(photo)
    name = name if len(name) <= width else f"...{name[3 - width :]}"
    figures = (f"{value:.2f}" for value in (report.score, report.blur_on_subject, report.blur_on_background))
    reason = textwrap.fill(
        report.reason, shutil.get_terminal_size().columns - 1, initial_indent="  ", subsequent_indent="  "
    )
    return COLUMNS.format(name, report.label, *figures, width=width) + "\n" + reason


def complain(error: Exception | str) -> None:
    tqdm.write(f"{PROGRAM}: {printable(error)}", file=sys.stderr)


def say(sentence: str) -> None:
    tqdm.write(printable(sentence))
