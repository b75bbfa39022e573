import dataclasses
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image, ImageFilter

from abc_hf import load_pipeline
from abc_hf.demo.compare_tab import compare_words, compared, in_words, sharpness_at, softness
from abc_hf.demo.uploads import Budget, Sent
from abc_hf.inference.blur_radius import SubjectSharpness


@pytest.fixture(scope="module")
def pipeline(tiny_folder):
    return load_pipeline(tiny_folder)


def test_shots_are_ranked_the_sharpest_first(pipeline, photo, tmp_path):
    scene = photo(400, 300).resize((1200, 900), Image.Resampling.NEAREST)
    sent = []
    for radius in (2, 0, 4, 1):
        path = tmp_path / f"{radius}.png"
        scene.filter(ImageFilter.GaussianBlur(radius)).save(path)
        sent.append(Sent(path.name, str(path)))
    (tmp_path / "broken.jpg").write_bytes(b"not a photo")
    sent.insert(1, Sent("broken.jpg", str(tmp_path / "broken.jpg")))
    steps = []
    shots = compared(pipeline, sent, str(tmp_path), Budget(), lambda done, **_: steps.append(done))
    assert [shot["file"] for shot in shots] == ["0.png", "1.png", "2.png", "4.png", "broken.jpg"]
    assert shots[-1]["error"].startswith("not a photo") and str(tmp_path) not in shots[-1]["error"]
    assert [shot["alike"] for shot in shots[:-1]] == [True] * 4
    assert {shot["loupe"].size for shot in shots[:-1]} == {(1200, 900)}
    assert steps[0] == (1, 15) and steps[-1][0] <= 15


def test_all_shots_are_cut_at_the_same_place(make_report, tmp_path):
    """At the eye of the sharpest, though the camera has moved by 60 and 40 pixels between the shots."""
    rng = np.random.default_rng(0)
    scene = Image.fromarray(rng.integers(60, 200, (50, 60), np.uint8)).resize((4200, 3200), Image.Resampling.BICUBIC)
    scene.paste(255, (790, 1590, 850, 1650))
    sent = []
    for name, left, top, radius in (("sharp", 0, 0, 0), ("soft", 60, 40, 3)):
        shot = scene.crop((left, top, left + 4000, top + 3000)).filter(ImageFilter.GaussianBlur(radius))
        shot.convert("RGB").save(tmp_path / f"{name}.png")
        sent.insert(0, Sent(f"{name}.png", str(tmp_path / f"{name}.png")))

    def judge(path, **options):
        report = make_report(np.zeros((384, 512)), np.ones((384, 512)), size=(4000, 3000))
        sharp = "sharp" in path
        look = SubjectSharpness(1.0, (790, 1590, 850, 1650) if sharp else (0, 0, 9, 9), 1, 1.0 if sharp else 4.0)
        return dataclasses.replace(report, preview=Image.open(path).resize((512, 384)), closely=look)

    shots = compared(judge, sent, str(tmp_path), Budget())
    assert [shot["file"] for shot in shots] == ["sharp.png", "soft.png"]
    for shot in shots:
        assert shot["loupe"].size == (1280, 1280) and shot["eye"] == [0, 0, 60]
        middle = np.argwhere(np.asarray(shot["loupe"].convert("L")) > 220).mean(0)
        assert np.abs(middle - 640).max() < 8  # a pixel of the previews


def look(eye: float | None, subject: float | None = 1.0, long_side: int = 1000):
    closely = subject and SubjectSharpness(subject, (0, 0, 9, 9), 1, eye)
    return SimpleNamespace(closely=closely, size=(long_side, 500), eye_sharpness=closely and closely.eye_sharpness)


def test_a_textured_background_never_wins_over_a_soft_face():
    ranked = [look(1.0, 4.0), look(2.0, 0.5), look(9.0, 0.5), look(None, 0.5), look(None, 3.0), look(None, None)]
    shuffled = [ranked[index] for index in (3, 0, 5, 2, 4, 1)]
    assert sorted(shuffled, key=lambda report: softness(report, 1000)) == ranked
    assert sharpness_at(look(4.0, long_side=2000), 1000) == sharpness_at(look(2.0), 1000)
    assert sharpness_at(look(None, None), 1000) is None


def test_percent_and_words():
    best, half = {"sharpness": 0.8, "eye_sharpness": 0.8}, {"sharpness": 0.4, "eye_sharpness": 0.4}
    assert compare_words(half, best) == {"percent": 50, "words": "as sharp, much softer"}
    assert compare_words({"sharpness": 1.0, "eye_sharpness": None}, best)["percent"] is None
    assert compare_words({"sharpness": None, "eye_sharpness": None}, best)["percent"] is None


def test_another_scene_is_noticed(pipeline, photo, tmp_path):
    sent = []
    for seed in (1, 2):
        photo(400, 300, seed).save(tmp_path / f"{seed}.png")
        sent.append(Sent(f"{seed}.png", str(tmp_path / f"{seed}.png")))
    assert [shot["alike"] for shot in compared(pipeline, sent, str(tmp_path), Budget())] == [True, False]


def test_a_larger_copy_is_not_less_sharp(pipeline, photo, tmp_path):
    """Shots of different sizes are measured at the smallest one's."""
    scene = photo(400, 300).resize((1600, 1200), Image.Resampling.BICUBIC)
    sent = []
    for side, radius in ((1600, 0), (800, 2)):
        path = tmp_path / f"{side}.png"
        small = scene.resize((side, side * 3 // 4), Image.Resampling.LANCZOS)
        small.filter(ImageFilter.GaussianBlur(radius)).save(path)
        sent.append(Sent(path.name, str(path)))
    assert [shot["file"] for shot in compared(pipeline, sent, str(tmp_path), Budget())] == ["1600.png", "800.png"]


@pytest.mark.parametrize("count", [0, 1, 13])
def test_two_to_twelve_shots(pipeline, count, tmp_path):
    with pytest.raises(gr.Error, match="2 to 12"):
        compared(pipeline, [Sent("a.jpg", "/nowhere")] * count, str(tmp_path), Budget())


def test_in_words():
    assert [in_words(share) for share in (1, 0.9, 0.7, 0.1, 0)] == [
        "hardly softer",
        "a little softer",
        "softer",
        "much softer",
        "much softer",
    ]
