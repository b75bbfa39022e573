import gradio as gr
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
    assert shots[0]["loupe"].size <= (480, 480)
    assert steps[0] == (1, 10) and steps[-1][0] <= 10


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
