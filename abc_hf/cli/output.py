"""The output of the commands."""

import contextlib
import logging
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ..common.text import printable

PROGRAM = "abc-fusenet"
LINE = "{:{width}}  {:9}  {:>5}  {:>7}  {:>10}"


def table_row(photo: Path, report, width: int) -> str:
    """The lines of a photo and its `BlurReport`."""
    name = printable(photo)
    name = name if len(name) <= width else f"...{name[3 - width :]}"
    figures = (f"{value:.2f}" for value in (report.score, report.blur_on_subject, report.blur_on_background))
    width_left = shutil.get_terminal_size().columns - 1
    sentences = [
        textwrap.fill(sentence, width_left, initial_indent="  ", subsequent_indent="  ")
        for sentence in (report.reason, report.closer_look)
        if sentence
    ]
    return "\n".join([LINE.format(name, report.label, *figures, width=width), *sentences])


def complain(error: Exception | str) -> None:
    tqdm.write(f"{PROGRAM}: {printable(error)}", file=sys.stderr)


def say(sentence: str) -> None:
    tqdm.write(printable(sentence))


class Sentences(logging.Handler):
    """Shows the log of the package: warnings on stderr, in the command's own form, and progress on stdout."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            complain(record.getMessage())
        else:
            say(record.getMessage())


@contextlib.contextmanager
def sentences_shown() -> Iterator[None]:
    """Show the log of the package, with the progress of `abc_hf.library`, while the command runs."""
    package, library, handler = logging.getLogger("abc_hf"), logging.getLogger("abc_hf.library"), Sentences()
    level = library.level
    package.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        library.setLevel(level)
