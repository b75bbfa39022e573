# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The one rule from the network's probabilities and maps to a verdict, and the words for it.

Label, score, certainty, folder, sidecar, table, report, demo and sentence all come from `Verdict`.
"""

from dataclasses import dataclass

import numpy as np

VERDICTS = {
    "no-blur": ("No blur", "Sharp wherever it matters, and nearly everywhere else."),
    "good-blur": ("Good blur", "The blur is wanted: it sets the subject off, or shows motion."),
    "ok-blur": ("OK blur", "There is blur, and it does no harm."),
    "bad-blur": ("Bad blur", "The blur is unwanted: it spoils the photo."),
}
"""The name of each label on the pages, and its meaning."""
KINDS = {"defocus": "Defocus", "motion": "Motion", "camera-shake": "Camera shake"}
"""The name of each kind of blur on the pages."""
NOT_SURE = "not sure"
"""The badge and the XMP keyword of a verdict that is not certain."""
GROUPS = ("good-blur", "ok-blur", "no-blur", "bad-blur")
"""The order of the groups on the pages."""
WORTH = {"no-blur": 1.0, "good-blur": 1.0, "ok-blur": 0.5, "bad-blur": 0.0}
"""The part of each class in the score."""
THRESHOLD = 0.35
"""The score below which a photo is flagged as rejected, unless the user sets another. It is low, so that no good photo
is thrown away."""
AT_FULL_SIZE = {"sharp": 2.0, "a little soft": 4.0, "soft": float("inf")}
"""The words for a photo in its own pixels, and the largest radius of blur of each [pixels]."""
SHARP_PART = "sharpest part of the subject"
"""The word for the subject at full size, where the blur map shows that it is blurred."""
STARS = (0.125, 0.375, 0.625, 0.875)
"""The scores from which a photo has 2, 3, 4 and 5 stars, unless the user sets others."""

BLURRED, CLEARLY_BLURRED = 1 / 6, 1 / 2
"""Where low and medium blur begin in a blur map: halfway to the level below."""
CORE_ATTENTION, CORE_QUANTILE = 0.7, 0.2
"""The core of the subject is where attention reaches the first. The blur of the subject is the second quantile of the
blur map there, because people look at the sharp parts of a subject."""
SOME = 0.01
"""The smallest share of blur that counts as blur."""
SMALLEST_CORE = 0.005
"""The share of the frame below which no subject stands out."""
NEARLY_ALL = 0.9
"""The share of a frame from which on the whole frame is blurred."""


@dataclass(frozen=True)
class MapFacts:
    """The two maps in figures, each 0..1.

    subject: blur of the sharper part of the subject's core; of the whole frame if no subject stands out. background:
    mean blur where attention is low. blurred: the share of the frame that is blurred. background_blurred: the share of
    the background that is blurred. core: the share of the frame that is the subject's core.
    """

    subject: float
    background: float
    blurred: float
    background_blurred: float
    core: float

    @property
    def has_subject(self) -> bool:
        return self.core >= SMALLEST_CORE


def read_maps(blur_map: np.ndarray, attention_map: np.ndarray) -> MapFacts:
    """The facts of a blur map and an attention map, (h, w) each, in 0..1."""
    core = attention_map >= CORE_ATTENTION
    away = 1 - attention_map
    weights = away if away.any() else None
    blurred = blur_map >= BLURRED
    share = float(core.mean())
    where = blur_map[core] if share >= SMALLEST_CORE else blur_map
    return MapFacts(
        subject=float(np.quantile(where, CORE_QUANTILE)),
        background=float(np.average(blur_map, weights=weights)),
        blurred=float(blurred.mean()),
        background_blurred=float(np.average(blurred, weights=weights)),
        core=share,
    )


@dataclass(frozen=True)
class Verdict:
    """The verdict on a photo.

    label: the most probable class that the maps allow. kind: of the blur, "defocus", "motion" or "camera-shake"; None
    for no-blur. certain: whether the label is sure enough to act on. score: the expected worth, 0..1, of the classes
    that the maps allow. between: the label and its most probable rival. left_out: the rival if the maps forbid it, so
    that the score leaves it out.
    """

    label: str
    kind: str | None
    certain: bool
    score: float
    between: tuple[str, str]
    left_out: str | None = None

    def rejected(self, threshold: float = THRESHOLD) -> bool:
        """Whether the photo scores less than a threshold: a flag beside the label, never another label."""
        return self.score < threshold

    @property
    def words(self) -> str:
        """The verdict in two to six words."""
        if self.certain:
            return VERDICTS[self.label][0]
        first, second = (VERDICTS[label][0] for label in self.between)
        return f"Not sure: {first} or {second[0].lower() + second[1:] if second != 'OK blur' else second}"


def judge(
    probabilities: dict[str, float], kinds: dict[str, float], facts: MapFacts, certain_from: float = 0.0
) -> Verdict:
    """The rule. The label is the most probable class that the maps allow; the score counts only such classes. The
    label is certain if no class is more probable, its probability is at least `certain_from`, and the maps do not
    speak against it."""
    ranked = sorted(probabilities, key=lambda name: probabilities[name], reverse=True)
    likeliest = max(kinds, key=lambda name: kinds[name]) if kinds else None
    allowed = [name for name in ranked if not ruled_out(name, likeliest, facts)]
    label = allowed[0]
    kind = None if label == "no-blur" else likeliest
    sure = label == ranked[0] and probabilities[label] >= certain_from
    total = sum(probabilities[name] for name in allowed)
    worth = sum(WORTH[name] * probabilities[name] for name in allowed)
    rival = next(name for name in ranked if name != label)
    return Verdict(
        label=label,
        kind=kind,
        certain=sure and follows(label, kind, facts),
        score=worth / total if total else WORTH[label],
        between=(label, rival),
        left_out=None if rival in allowed else rival,
    )


def ruled_out(label: str, kind: str | None, facts: MapFacts) -> bool:
    """Whether the maps forbid a label, even a probable one: bad-blur of a photo whose subject is
    sharp, and good-blur where nearly all is blurred, nothing stands out, and nothing moved."""
    if label == "bad-blur":
        return not follows(label, kind, facts)
    return label == "good-blur" and kind != "motion" and not facts.has_subject and facts.blurred >= NEARLY_ALL


def follows(label: str, kind: str | None, facts: MapFacts) -> bool:
    """Whether the maps allow a label. They speak against no-blur if much is blurred, against good and ok blur if
    nothing or the subject is blurred (by anything but motion), and against bad blur if the subject is sharp."""
    wanted = facts.blurred >= SOME and (facts.subject < CLEARLY_BLURRED or kind == "motion")
    return {
        "no-blur": facts.subject < BLURRED and facts.blurred < 0.3,
        "good-blur": wanted,
        "ok-blur": wanted,
        "bad-blur": facts.subject >= BLURRED or (not facts.has_subject and facts.blurred >= 0.5),
    }[label]


# ------------------------------------------------------------------------------------------------------------- words

AMOUNTS = ("sharp", "slightly blurred", "clearly blurred", "strongly blurred")
BLUR_OF_KIND = {"defocus": "out of focus", "motion": "smeared by motion", "camera-shake": "shaken", None: "blurred"}


def amount(blur: float) -> str:
    """The words for a value of the blur map."""
    return AMOUNTS[min(3, round(blur * 3))]


def share(value: float) -> str:
    """The words for a share of something."""
    return {"0%": "none", "100%": "all"}.get(f"{value:.0%}", f"{value:.0%}")


def explain(verdict: Verdict, facts: MapFacts) -> str:
    """One sentence: the reason for the verdict or, if it is not certain, the two labels, the facts of the maps, and the
    label that the score leaves out for these."""
    if not verdict.certain:
        score = f", so the score leaves out {VERDICTS[verdict.left_out][0].lower()}" if verdict.left_out else ""
        return f"{verdict.words}; {observed(facts)}{score}."
    return {"no-blur": no_blur, "good-blur": good_blur, "ok-blur": ok_blur, "bad-blur": bad_blur}[verdict.label](
        verdict.kind, facts
    )


def observed(facts: MapFacts) -> str:
    """The facts of the maps, without a judgement."""
    if not facts.has_subject:
        return f"no subject stands out, and {share(facts.blurred)} of the photo is blurred"
    return f"the subject is {amount(facts.subject)}, and {share(facts.background_blurred)} of the background is blurred"


def no_blur(kind: str | None, facts: MapFacts) -> str:
    if facts.blurred >= 0.1:
        return (
            "The subject is sharp, and little else is blurred." if facts.has_subject else "Nearly all of it is sharp."
        )
    return "The subject and its surroundings are sharp." if facts.has_subject else "The photo is sharp all over."


def good_blur(kind: str | None, facts: MapFacts) -> str:
    if kind == "motion":
        if facts.has_subject and facts.subject < BLURRED:
            return "The subject is sharp and its surroundings are smeared by motion, which shows speed."
        return "The motion is smeared on purpose, as in flowing water, light trails or a dance."
    if facts.has_subject and facts.subject < BLURRED and facts.background_blurred >= SOME:
        part = share(facts.background_blurred)
        return f"The subject is sharp and {part} of the background is blurred, which sets it off."
    return "The blur looks wanted: it leads the eye to the sharp part."


def ok_blur(kind: str | None, facts: MapFacts) -> str:
    what = "The subject" if facts.has_subject else "The photo"
    if facts.subject >= CLEARLY_BLURRED:  # of motion alone, see `follows`
        return f"{what} is smeared by motion, which does the photo no harm."
    if facts.subject >= BLURRED:
        return f"{what} is slightly {BLUR_OF_KIND[kind]}, but its details can still be seen."
    if facts.has_subject and facts.background_blurred >= SOME:
        part = share(facts.background_blurred)
        return f"The subject is sharp, and the blur on {part} of the background does the photo no harm."
    return f"{share(facts.blurred).capitalize()} of the photo is blurred, which does it no harm."


def bad_blur(kind: str | None, facts: MapFacts) -> str:
    how = BLUR_OF_KIND[kind]
    if (facts.background_blurred if facts.has_subject else facts.blurred) >= 0.7:
        return f"The whole photo is {how}, which spoils it."
    if not facts.has_subject:
        return f"{share(facts.blurred)} of the photo is {how}, which spoils it."
    if kind == "defocus" and facts.background < facts.subject:
        return "The subject is out of focus while the background is sharper: the focus missed it."
    return f"The subject is {how}, which spoils the photo."


def look_closer(good: bool, place: str, radius: float) -> str:
    """One sentence on a photo in its own pixels.

    Args:
        good: whether the verdict certainly is no-blur or good-blur.
        place: the word for the part of the photo that was measured.
        radius: of its blur [pixels of the photo].
    """
    words = next(words for words, largest in AT_FULL_SIZE.items() if radius <= largest)
    if words == "sharp" or not good:
        return f"The {place} is {words} at 100 %: the blur there has a radius of {radius:.1f} pixels."
    return f"Good at screen size, {words} at 100 %: the blur of the {place} has a radius of {radius:.1f} pixels."
