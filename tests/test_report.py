import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from abc_hf import load_pipeline
from abc_hf.image_processing_abc_fusenet import resize_map
from abc_hf.inference.blur_radius import SubjectSharpness
from abc_hf.verdicts import explain, judge, read_maps


@pytest.fixture(scope="module")
def pipe(tiny_folder):
    return load_pipeline(tiny_folder, device="cpu")


def halves(left, right, height=8, width=8):
    return np.repeat([[left] * (width // 2) + [right] * (width // 2)], height, axis=0)


def test_score_is_the_expected_worth(make_report):
    report = make_report(np.full((2, 2), 0.3), np.ones((2, 2)), "ok-blur")
    assert report.label == "ok-blur"
    assert report.score == pytest.approx(1 * 0.1 + 1 * 0.1 + 0.5 * 0.7 + 0 * 0.1)


def test_maps_are_made_at_the_photo_size_when_read(make_report):
    small = np.linspace(0, 1, 32, dtype=np.float32).reshape(4, 8)
    report = make_report(small, 1 - small, size=(160, 80))
    for full, expected in ((report.blur_map, small), (report.attention_map, 1 - small)):
        assert (full.shape, full.dtype) == ((80, 160), np.float32)
        assert full.min() >= 0 and full.max() <= 1
        np.testing.assert_array_equal(full, resize_map(expected, (80, 160)))
    kept = sum(value.nbytes for value in vars(report).values() if isinstance(value, np.ndarray))
    assert kept == 2 * small.nbytes


def test_blur_on_subject_and_background(make_report):
    report = make_report(halves(0.2, 0.8), halves(0.75, 0.25))
    assert report.blur_on_subject == pytest.approx(0.2), "of the core, where attention is 0.7 and more"
    assert report.blur_on_background == pytest.approx(0.25 * 0.2 + 0.75 * 0.8)
    for attention in (0, 1):
        empty = make_report(halves(0.2, 0.8), np.full((8, 8), attention))
        assert empty.blur_on_subject == pytest.approx(0.2), "the sharper part of the frame"
        assert empty.blur_on_background == pytest.approx(0.5)


@pytest.mark.parametrize(("share", "certain"), [(0.7, True), (0.71, False)])
def test_the_verdict_is_that_of_the_rule(make_report, share, certain):
    """The most probable class has 0.7."""
    report = make_report(halves(0, 0.9), halves(1, 0), "good-blur", certain_from=share, motion=0.8)
    facts = read_maps(report.small_blur_map, report.small_attention_map)
    verdict = judge(report.probabilities, report.kind_probabilities, facts, share)
    assert report.verdict == verdict and report.facts == facts
    assert (report.label, report.certain, report.kind) == ("good-blur", certain, "motion")
    assert report.reason == explain(verdict, facts)
    assert report.to_dict()["between"] == (None if certain else ["good-blur", "no-blur"])


@pytest.mark.parametrize(("blur", "start"), [(0.1, "The subject is sharp at 100 %"), (0.4, "The sharpest part of the")])
def test_a_blurred_subject_is_not_called_sharp(make_report, blur, start):
    report = make_report(np.full((8, 8), blur), np.ones((8, 8)))
    closely = SubjectSharpness(1.5, (0, 0, 9, 9), faces=1)
    assert dataclasses.replace(report, closely=closely).closer_look.startswith(start)
    eye = dataclasses.replace(closely, eye_blur_radius=1.5)
    assert dataclasses.replace(report, closely=eye).closer_look.startswith("The eye is sharp at 100 %")


def test_levels_and_fraction(make_report):
    report = make_report([[0.0, 0.16, 0.17, 0.49], [0.51, 0.83, 0.84, 1.0]], np.ones((2, 4)))
    assert report.levels == {"none": 0.25, "low": 0.25, "medium": 0.25, "high": 0.25}
    assert report.blur_fraction == 0.75


def test_to_dict_is_json(pipe, photo):
    report = pipe(photo(80, 60))
    said = json.loads(json.dumps(report.to_dict()))
    assert said["label"] in said["probabilities"] and said["kind_probabilities"] == report.kind_probabilities
    assert (said["width"], said["height"]) == (80, 60)
    names = "certain kind score blur_on_subject blur_on_background blur_fraction reason levels"
    for name in names.split():
        assert said[name] == getattr(report, name)


def test_no_link_is_written_through(make_report, tmp_path):
    (tmp_path / "mine").write_text("mine")
    for end in (".json", "_figure.png", "_blur.png", "_attention_16bit.png"):
        (tmp_path / f"a{end}").symlink_to(tmp_path / "mine")
    files = make_report([[0, 1]], [[1, 0]]).save(tmp_path, "a")
    assert (tmp_path / "mine").read_text() == "mine" and not any(file.is_symlink() for file in files)


def test_save(pipe, photo, tmp_path):
    report = pipe(photo(200, 150))
    files = report.save(tmp_path / "out", "holiday")
    ends = [".json", "_figure.png", "_blur.png", "_blur_16bit.png", "_attention.png", "_attention_16bit.png"]
    assert [file.name for file in files] == [f"holiday{end}" for end in ends]
    assert sorted((tmp_path / "out").iterdir()) == sorted(files)
    assert json.loads(files[0].read_text()) == report.to_dict()
    for kind in ("blur", "attention"):
        for end, size, most in (("", (96, 72), 255), ("_16bit", (200, 150), 65535)):
            with Image.open(tmp_path / "out" / f"holiday_{kind}{end}.png") as saved:
                assert saved.size == size
                full = getattr(report, f"{kind}_map") if end else getattr(report, f"small_{kind}_map")
                np.testing.assert_allclose(np.asarray(saved) / most, full, atol=0.5001 / most)
