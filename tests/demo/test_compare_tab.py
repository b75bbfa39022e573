import dataclasses

import gradio as gr
import numpy as np
import pytest
from PIL import Image, ImageFilter

from abc_hf import load_pipeline
from abc_hf.demo.compare_tab import compared, in_words
from abc_hf.demo.uploads import Budget, Sent


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
    """At the text that is sharp and attended, not at sharper text that does not count."""
    scene = Image.new("L", (4000, 3000), 128)
    rng = np.random.default_rng(0)
    for left in (600, 3000):
        scene.paste(Image.fromarray(rng.integers(0, 256, (400, 400), dtype=np.uint8)), (left, 1400))
    attention = np.zeros((96, 128))
    attention[:, :64] = 1
    sent = []
    for radius in (3, 0):
        scene.filter(ImageFilter.GaussianBlur(radius)).convert("RGB").save(tmp_path / f"{radius}.png")
        sent.append(Sent(f"{radius}.png", str(tmp_path / f"{radius}.png")))

    def judge(path, **options):
        report = make_report(np.zeros((96, 128)), attention, size=(4000, 3000))
        return dataclasses.replace(report, preview=Image.open(path).resize((128, 96)))

    shots = compared(judge, sent, str(tmp_path), Budget())
    assert [shot["file"] for shot in shots] == ["0.png", "3.png"]
    left, top = 800 - 640, 1600 - 640  # its middle, less half of the piece
    for shot in shots:
        assert shot["loupe"].size == (1280, 1280)
        found = np.argwhere(np.abs(np.asarray(shot["loupe"].convert("L")).astype(int) - 128) > 20)
        middle = (found.min(0) + found.max(0)) / 2 + (top, left)
        assert np.abs(middle - (1600, 800)).max() < 200


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
