"""Types of options."""

import argparse
import math
from pathlib import Path


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


def finite_or_file(text: str) -> float | Path:
    return Path(text) if text.lower().endswith((".csv", ".json")) else finite(text)


def star_scores(text: str) -> tuple[float, ...]:
    scores = tuple(map(finite, text.split(",")))
    if len(scores) != 4 or list(scores) != sorted(scores):
        raise argparse.ArgumentTypeError(f"expected four rising scores such as 0.2,0.4,0.6,0.8, got {text}")
    return scores


def sharpness(text: str) -> float:
    value = finite(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a sharpness above 0 and up to 1, got {text}")
    return value


def finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number such as 0.5, got {text}")
    return value
