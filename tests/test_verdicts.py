"""The one rule and its words, against cases computed by hand."""

import itertools

import numpy as np
import pytest

from abc_hf.configuration_abc_fusenet import DESIRABILITY
from abc_hf.configuration_abc_fusenet import KINDS as MODEL_KINDS
from abc_hf.verdicts import (
    GROUPS,
    KINDS,
    VERDICTS,
    MapFacts,
    Verdict,
    explain,
    follows,
    judge,
    look_closer,
    read_maps,
)

SHARP = MapFacts(subject=0.0, background=0.0, blurred=0.0, background_blurred=0.0, core=0.2)
KIND_SHARES = {"defocus": 0.2, "motion": 0.5, "camera-shake": 0.3}


def facts(subject, background_blurred, blurred=None, background=None, core=0.2) -> MapFacts:
    """The facts of two maps; a photo's blur is that of its background unless it is given."""
    blurred = background_blurred if blurred is None else blurred
    return MapFacts(
        subject, background_blurred if background is None else background, blurred, background_blurred, core
    )


def verdict(label, kind=None, certain=True, between=None) -> Verdict:
    return Verdict(label, kind, certain, 0.5, between or (label, "ok-blur"))


def shares(**given) -> dict[str, float]:
    """Probabilities by `no`, `good`, `ok` and `bad`."""
    return {label: given.get(label.split("-")[0], 0.0) for label in DESIRABILITY}


# --- maps to facts ---


def test_a_narrow_sharp_core_in_a_blurred_rim_is_a_sharp_subject():
    """10 x 10 places. The subject is the upper four rows: 16 places are sharp and 24 blurred by 0.9. The 0.3 quantile
    of 40 values lies between the 12th and the 13th."""
    blur, attention = np.full((10, 10), 0.6), np.zeros((10, 10))
    attention[:4], blur[:4], blur[:4, 3:7] = 1.0, 0.9, 0.0
    found = read_maps(blur, attention)
    assert found.subject == 0.0
    assert found.background == pytest.approx(0.6)
    assert found.blurred == pytest.approx((24 + 60) / 100)
    assert found.background_blurred == pytest.approx(1.0)
    assert found.core == pytest.approx(0.4) and found.has_subject

    blur[:4, 3:6] = 0.9  # four places stay sharp: fewer than 0.2 of 40
    assert read_maps(blur, attention).subject == pytest.approx(0.9)


def test_the_rim_of_attention_is_background():
    """Places of attention 0.65 are not of the core; each weighs 0.35 in the background."""
    blur = np.repeat([[0.0, 0.9, 0.3]], 10, axis=0)
    attention = np.repeat([[1.0, 0.65, 0.0]], 10, axis=0)
    found = read_maps(blur, attention)
    assert found.subject == 0.0
    assert found.background == pytest.approx((0.35 * 0.9 + 0.3) / 1.35)
    assert found.background_blurred == pytest.approx(1.0)
    assert found.blurred == pytest.approx(2 / 3)


def test_the_subject_s_blur_is_a_quantile():
    found = read_maps(np.linspace(0, 1, 11)[None], np.ones((1, 11)))
    assert found.subject == pytest.approx(0.2)
    assert found.background == pytest.approx(0.5), "attention is 1 everywhere, so that all places weigh the same"


def test_one_place_in_four_hundred_is_no_subject():
    """The frame stands in for it: here 15 % of 400 places are sharp, and the quantile is the blur of the rest."""
    blur, attention = np.full((20, 20), 0.5), np.zeros((20, 20))
    blur[:3], attention[0, 0] = 0.0, 1.0
    found = read_maps(blur, attention)
    assert not found.has_subject and found.core == pytest.approx(1 / 400)
    assert found.subject == pytest.approx(0.5)
    attention[0, :2] = 1.0
    assert read_maps(blur, attention).has_subject and read_maps(blur, attention).subject == 0.0


@pytest.mark.parametrize(("value", "blurred"), [(0.166, 0.0), (0.167, 1.0)])
def test_blurred_is_a_sixth_or_more(value, blurred):
    assert read_maps(np.full((4, 4), value), np.zeros((4, 4))).blurred == blurred


# --- probabilities to a verdict ---


def test_the_most_probable_class_is_the_label():
    found = judge(shares(no=0.1, good=0.2, ok=0.3, bad=0.4), KIND_SHARES, facts(0.9, 0.9))
    assert (found.label, found.kind, found.between) == ("bad-blur", "motion", ("bad-blur", "ok-blur"))
    assert found.score == pytest.approx(0.1 + 0.2 + 0.5 * 0.3)


def test_no_blur_has_no_kind():
    assert judge(shares(no=0.9, bad=0.1), KIND_SHARES, SHARP).kind is None
    assert judge(shares(ok=0.9, bad=0.1), {}, SHARP).kind is None


@pytest.mark.parametrize(("share", "certain"), [(0.59, False), (0.6, True), (0.9, True)])
def test_a_verdict_is_certain_from_a_probability_on(share, certain):
    assert judge(shares(no=share, ok=1 - share), {}, SHARP, certain_from=0.6).certain == certain


@pytest.mark.parametrize(("threshold", "rejected"), [(0.1, False), (0.45, False), (0.46, True), (0.9, True)])
def test_a_threshold_flags_and_changes_no_label(threshold, rejected):
    found = judge(shares(good=0.45, bad=0.55), KIND_SHARES, facts(0.9, 0.9))
    assert found.rejected(threshold) == rejected and found.label == "bad-blur"


@pytest.mark.parametrize(
    ("label", "kind", "maps", "certain"),
    [
        ("no-blur", None, facts(0.1, 0.2), True),
        ("no-blur", None, facts(0.2, 0.2), False),  # the subject is blurred
        ("no-blur", None, facts(0.1, 0.4), False),  # much is blurred
        ("good-blur", "defocus", facts(0.0, 0.9), True),
        ("good-blur", "defocus", facts(0.6, 0.9), False),  # the subject is blurred ...
        ("good-blur", "motion", facts(0.6, 0.9), True),  # ... and is meant to be
        ("good-blur", "defocus", facts(0.0, 0.0), False),  # nothing is blurred
        ("ok-blur", "defocus", facts(0.3, 0.3), True),
        ("ok-blur", "camera-shake", facts(0.6, 0.3), False),
        ("ok-blur", "motion", facts(0.6, 0.3), True),
        ("ok-blur", "defocus", SHARP, False),
        ("bad-blur", "defocus", facts(0.2, 0.0), True),
        ("bad-blur", "camera-shake", facts(0.1, 0.6, core=0), True),  # there is no subject
    ],
)
def test_maps_that_speak_against_a_label_make_it_uncertain(label, kind, maps, certain):
    kinds = {kind: 1.0} if kind else {}
    found = judge({**shares(), label: 0.97}, kinds, maps, certain_from=0.6)
    assert (found.label, found.certain) == (label, certain)


@pytest.mark.parametrize(
    ("label", "kind", "maps"),
    [
        ("bad-blur", "defocus", facts(0.1, 0.9)),  # the subject is sharp
        ("bad-blur", "camera-shake", facts(0.1, 0.4, core=0)),  # no subject stands out, and most is sharp
        ("good-blur", "defocus", facts(0.6, 0.95, core=0)),  # all is blurred, and nothing stands out
    ],
)
def test_a_label_that_the_maps_rule_out_gives_way(label, kind, maps):
    found = judge({"ok-blur": 0.06, "no-blur": 0.04, "bad-blur": 0, "good-blur": 0, label: 0.9}, {kind: 1.0}, maps)
    assert (found.label, found.certain, found.between) == ("ok-blur", False, ("ok-blur", label))
    assert found.score == pytest.approx((0.5 * 0.06 + 0.04) / 0.1), "what is ruled out does not count"


@pytest.mark.parametrize(
    ("kind", "blurred", "core"), [("motion", 0.95, 0), ("defocus", 0.85, 0), ("defocus", 0.95, 0.1)]
)
def test_good_blur_stays_where_something_moved_or_stands_out_or_is_sharp(kind, blurred, core):
    assert judge(shares(good=0.9, bad=0.1), {kind: 1.0}, facts(0.3, blurred, core=core)).label == "good-blur"


# --- words ---


@pytest.mark.parametrize(
    ("between", "words"),
    [
        (("ok-blur", "bad-blur"), "Not sure: OK blur or bad blur"),
        (("bad-blur", "ok-blur"), "Not sure: Bad blur or OK blur"),
        (("no-blur", "good-blur"), "Not sure: No blur or good blur"),
    ],
)
def test_words_of_a_doubt_name_both_labels(between, words):
    assert verdict(between[0], certain=False, between=between).words == words
    assert verdict(between[0], between=between).words == VERDICTS[between[0]][0]


@pytest.mark.parametrize(
    ("label", "kind", "maps", "sentence"),
    [
        ("no-blur", None, SHARP, "The subject and its surroundings are sharp."),
        ("no-blur", None, facts(0.1, 0.2), "The subject is sharp, and little else is blurred."),
        ("no-blur", None, facts(0.0, 0.0, core=0), "The photo is sharp all over."),
        ("no-blur", None, facts(0.0, 0.2, core=0), "Nearly all of it is sharp."),
        ("good-blur", "defocus", facts(0.0, 0.98),
         "The subject is sharp and 98% of the background is blurred, which sets it off."),
        ("good-blur", "defocus", facts(0.0, 1.0),
         "The subject is sharp and all of the background is blurred, which sets it off."),
        ("good-blur", "motion", facts(0.0, 0.9),
         "The subject is sharp and its surroundings are smeared by motion, which shows speed."),
        ("good-blur", "motion", facts(0.6, 0.9),
         "The motion is smeared on purpose, as in flowing water, light trails or a dance."),
        ("good-blur", "motion", facts(0.0, 0.5, core=0),
         "The motion is smeared on purpose, as in flowing water, light trails or a dance."),
        ("good-blur", "defocus", facts(0.3, 0.9), "The blur looks wanted: it leads the eye to the sharp part."),
        ("good-blur", "defocus", facts(0.0, 0.0, blurred=0.1),
         "The blur looks wanted: it leads the eye to the sharp part."),
        ("ok-blur", "defocus", facts(0.3, 0.3),
         "The subject is slightly out of focus, but its details can still be seen."),
        ("ok-blur", "camera-shake", facts(0.3, 0.3, core=0),
         "The photo is slightly shaken, but its details can still be seen."),
        ("ok-blur", "motion", facts(0.6, 0.3), "The subject is smeared by motion, which does the photo no harm."),
        ("ok-blur", "defocus", facts(0.0, 0.4),
         "The subject is sharp, and the blur on 40% of the background does the photo no harm."),
        ("ok-blur", "defocus", facts(0.0, 0.25, core=0), "25% of the photo is blurred, which does it no harm."),
        ("ok-blur", "defocus", facts(0.0, 0.0, blurred=0.04), "4% of the photo is blurred, which does it no harm."),
        ("bad-blur", "camera-shake", facts(0.9, 0.9), "The whole photo is shaken, which spoils it."),
        ("bad-blur", "defocus", facts(0.9, 0.9, core=0), "The whole photo is out of focus, which spoils it."),
        ("bad-blur", "defocus", facts(0.1, 0.6, core=0), "60% of the photo is out of focus, which spoils it."),
        ("bad-blur", "defocus", facts(0.8, 0.2, background=0.1),
         "The subject is out of focus while the background is sharper: the focus missed it."),
        ("bad-blur", "motion", facts(0.8, 0.2, background=0.1),
         "The subject is smeared by motion, which spoils the photo."),
        ("bad-blur", None, facts(0.4, 0.5, background=0.6), "The subject is blurred, which spoils the photo."),
    ],
)  # fmt: skip
def test_the_sentence_of_a_certain_verdict(label, kind, maps, sentence):
    assert follows(label, kind, maps), "a certain verdict follows from its maps"
    assert explain(verdict(label, kind), maps) == sentence


@pytest.mark.parametrize(
    ("maps", "end"),
    [
        (facts(0.02, 0.0), "the subject is sharp, and none of the background is blurred."),
        (facts(0.3, 0.5), "the subject is slightly blurred, and 50% of the background is blurred."),
        (facts(0.6, 1.0), "the subject is clearly blurred, and all of the background is blurred."),
        (facts(0.9, 0.1), "the subject is strongly blurred, and 10% of the background is blurred."),
        (facts(0.9, 0.97, core=0), "no subject stands out, and 97% of the photo is blurred."),
    ],
)
def test_the_sentence_of_a_doubt_says_what_is_seen(maps, end):
    doubt = verdict("ok-blur", "defocus", certain=False, between=("ok-blur", "bad-blur"))
    assert explain(doubt, maps) == f"Not sure: OK blur or bad blur; {end}"


def test_a_doubt_names_the_label_that_the_score_leaves_out():
    """Bad blur has 0.74, and the score is near 1 all the same, because the subject is sharp."""
    found = judge(shares(no=0.25, ok=0.01, bad=0.74), KIND_SHARES, SHARP)
    assert found.score > 0.95 and found.left_out == "bad-blur" and not found.certain
    start = "Not sure: No blur or bad blur; the subject is sharp, "
    assert explain(found, SHARP).startswith(start) and explain(found, SHARP).endswith("the score leaves out bad blur.")
    assert judge(shares(no=0.6, good=0.4), KIND_SHARES, SHARP).left_out is None


def test_no_sentence_speaks_against_the_maps():
    """Over all verdicts that maps allow: what a sentence says of the subject, of parts and of the whole is so."""
    amounts, parts = (0.0, 0.1, 0.2, 0.4, 0.6, 1.0), (0.0, 0.02, 0.2, 0.5, 0.8, 1.0)
    said = set()
    for label, kind in itertools.product(DESIRABILITY, (None, *MODEL_KINDS)):
        for subject, blurred, rest, core in itertools.product(amounts, parts, parts, (0, 0.2)):
            maps = facts(subject, rest, blurred=blurred, core=core)
            possible = core or (subject >= 1 / 6) == (blurred > 0.7)  # without a subject, `subject` is a quantile
            if not possible or not follows(label, kind, maps):
                continue
            sentence = explain(verdict(label, kind), maps)
            said.add(sentence)
            assert sentence[0].isupper() or sentence[0].isdigit()
            assert sentence.endswith(".") and "none of" not in sentence.lower()
            if "subject is sharp" in sentence or "subject and its surroundings" in sentence:
                assert core and subject < 1 / 6
            if "subject is out of" in sentence or "subject is smeared" in sentence or "subject is s" in sentence:
                assert core and (subject >= 1 / 6) == ("subject is sharp" not in sentence)
            if "whole photo" in sentence:
                assert (rest if core else blurred) >= 0.7
            if "slightly" in sentence:
                assert subject < 0.5
            assert ("spoils" in sentence or "missed" in sentence) == (label == "bad-blur")
    assert len(said) > 20


def test_every_label_and_kind_has_its_words():
    assert tuple(VERDICTS) == tuple(DESIRABILITY) and sorted(GROUPS) == sorted(DESIRABILITY)
    assert tuple(KINDS) == MODEL_KINDS


@pytest.mark.parametrize(
    ("good", "place", "radius", "start"),
    [
        (True, "eye", 3.4, "Good at screen size, a little soft at 100 %: the blur of the eye has a radius"),
        (True, "subject", 9, "Good at screen size, soft at 100 %: the blur of the subject"),
        (True, "subject", 1.2, "The subject is sharp at 100 %: the blur there has a radius of 1.2"),
        (False, "eye", 9, "The eye is soft at 100 %"),
        (False, "subject", 2.5, "The subject is a little soft at 100 %"),
    ],
)
def test_the_sentence_on_the_photo_at_100_percent(good, place, radius, start):
    assert look_closer(good, place, radius).startswith(start)
