# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""What verdicts are called, and where a photo is sorted at a threshold of its score."""

VERDICTS = {
    "no-blur": ("No blur", "Sharp wherever it matters, and nearly everywhere else."),
    "good-blur": ("Good blur", "The blur is wanted: it sets the subject off."),
    "ok-blur": ("OK blur", "There is blur, and it does no harm."),
    "bad-blur": ("Bad blur", "The blur is unwanted: it spoils the photo."),
}
"""What each label is called on the pages, and what it means."""
GROUPS = ("good-blur", "ok-blur", "no-blur", "bad-blur")
"""The order of the groups on the pages."""
THRESHOLD = 0.35
"""The score below which a photo counts as bad, unless the visitor sets another: rather too low than too high, so that
no good photo is thrown away."""


def group_of(score: float, probabilities: dict[str, float], threshold: float = THRESHOLD) -> str:
    """Where a photo is sorted: under bad-blur, if it scores less than the threshold, else under the most probable of
    the other three."""
    return "bad-blur" if score < threshold else best_unspoilt(probabilities)


def best_unspoilt(probabilities: dict[str, float]) -> str:
    """The most probable label but bad-blur."""
    return max((label for label in probabilities if label != "bad-blur"), key=probabilities.get)
