"""Sentences and tables."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator


def printable(text: object) -> str:
    """Text in one line. Line breaks, escape sequences and broken UTF-8 of file names are spelt out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def first_line(error: Exception) -> str:
    """The reason in an error: its first line, with the next one behind a colon; of an error of the system, the file and
    the system's words."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename2 or error.filename}: {error.strerror}"
    line, _, rest = (str(error).strip() or type(error).__name__).partition("\n")
    return f"{line} {rest.strip()}".split("\n")[0].rstrip(".") if line.endswith(":") else line.rstrip(".")


def photo_count(number: int) -> str:
    """A number of photos in words: "1 photo", "2 photos"."""
    return f"{number} photo{'' if number == 1 else 's'}"


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that a spreadsheet takes for a formula, or may take for one."""


def csv_cell(value: object) -> object:
    """A value for a CSV file: an apostrophe stands before text that a spreadsheet would run as a formula. Numbers stay
    numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]


@contextlib.contextmanager
def waiting(sentence: str, seconds: float = 3) -> Iterator[None]:
    """Print the sentence and the time so far to standard error every few seconds."""
    done, start = threading.Event(), time.monotonic()

    def say():
        while not done.wait(seconds):
            print(f"{sentence}: {time.monotonic() - start:.0f} s so far ...", file=sys.stderr, flush=True)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
