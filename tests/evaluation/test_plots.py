"""Figures show what they are given."""

import numpy as np
import pytest
from PIL import Image

from abc_hf.evaluation import plots
from abc_hf.evaluation.results import kind_figure
from abc_hf.visualization import COLORS


@pytest.fixture
def result():
    """As results.json has it: precision 0.5 all the way."""
    curve = {"precision": [0.5, 0.5], "recall": [1.0, 0.0]}
    return {
        "name": "ours",
        "dataset": "toy",
        "split": "test",
        "blur_map": {"all": {"photos": 7}},
        "curves": {"blur_map": {"all": curve}},
    }


def test_published_curves_are_dashed_and_captioned(result, tmp_path):
    (tmp_path / "Peer.txt").write_text("0.25 1.0\n0.25 0.5\n0.25 0.0\n")
    (tmp_path / "Better.txt").write_text("0.75 1.0\n0.75 0.0\n")
    figure = kind_figure([result], "all", "All", plots.read_curves(tmp_path))
    assert "published, all 1000 photos; ours on 7" in " ".join(text.get_text() for text in figure.texts)
    axes = figure.axes[0]
    styles = {line.get_label(): line.get_linestyle() for line in axes.lines}
    assert styles == {"0.750  Better": "--", "0.250  Peer": "--", "0.500  ours": "-"}
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["0.500  ours", "0.750  Better", "0.250  Peer"]
    assert "published" not in " ".join(text.get_text() for text in kind_figure([result], "all", "All", {}).texts)


def test_truth_has_the_colours_of_the_map_and_two_of_its_own():
    painted = plots.truth_colors(np.array([[0, 1, 2, 3, 254, 255]], np.uint8), "blur_map")
    assert (painted[0, :4] == COLORS[[0, 85, 170, 255]]).all()
    on_scale = {tuple(color) for color in COLORS.tolist()}
    assert not {tuple(color) for color in painted[0, 4:].tolist()} & on_scale


def test_confusion_shows_shares_of_the_truth():
    figure = plots.confusion_matrix([[3, 1], [0, 0]], ["a", "b"], "title")
    assert [text.get_text() for text in figure.axes[0].texts] == ["75%", "3", "25%", "1", "0%", "0", "0%", "0"]


def test_class_curves_begin_at_the_first_hit():
    curve = {"precision": [0.5, 1.0, 0.0, 1.0], "recall": [1.0, 0.5, 0.0, 0.0]}
    figure = plots.class_precision_recall(
        {"ok-blur": curve}, {"ok-blur": {"photos": 2, "average_precision": 0.75}}, "t"
    )
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [0, 0.5, 1] and line.get_ydata().tolist() == [1, 1, 0.5]


def test_gallery_draws_a_panel_a_map(tmp_path):
    photo = Image.new("RGB", (30, 20))
    images = plots.gallery_images(np.zeros((10, 15), np.uint8), [np.zeros((5, 8), np.float32)], photo.size)
    assert [image.shape for image in images] == [(20, 30, 3)] * 2
    rows = [{"photo": photo, "images": images, "caption": "one"}] * 2
    figure = plots.gallery("Best", rows, ["Photo", "Truth", "Ours"])
    figure.savefig(tmp_path / "gallery.png")
    assert len(figure.axes) == 2 * 3 + 1  # and the colour bar
    assert [text.get_text() for text in figure.texts] == ["Best", "Photo", "Truth", "Ours", "one", "one"]
