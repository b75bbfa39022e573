import re

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from abc_hf.visualization import (
    COLOR_SCALE,
    COLORS,
    LABEL_COLORS,
    LAYER_SCALE,
    LEVEL_COLORS,
    LEVELS,
    colorize,
    grey_image,
    layer,
    overlay,
)

HALVES = np.repeat([[0.0, 1.0]], 4, axis=1).repeat(2, axis=0)
"""2 x 8, 0 on the left and 1 on the right."""


def test_colors_are_those_of_plasma():
    plasma = 255 * matplotlib.colormaps["plasma"](np.arange(256))[:, :3]
    assert np.abs(COLORS - plasma).max() <= 6


def test_no_colour_looks_like_fog():
    """Fog is grey: its channels are nearly equal."""
    assert (COLORS.max(1).astype(int) - COLORS.min(1)).min() > 120


def test_higher_is_lighter():
    lightness = COLORS @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -1).all()  # less is rounding
    assert lightness[255] - lightness[0] > 210


def test_a_value_has_the_same_colour_in_every_photo():
    alone = colorize(np.full((2, 3), 0.3, np.float32))
    among = colorize(np.array([[0.0, 0.3, 1.0]], np.float32))
    assert (alone == among[0, 1]).all()
    assert (alone.shape, alone.dtype) == ((2, 3, 3), np.uint8)
    assert tuple(among[0, 0]) == (0x0D, 0x08, 0x87)
    assert tuple(among[0, 2]) == (0xF0, 0xF9, 0x21)


def test_overlay_hides_the_photo_by_the_value():
    photo = np.full((2, 8, 3), 200, np.uint8)
    drawn = overlay(Image.fromarray(photo), HALVES, opacity=0.5)
    assert (drawn[:, 0] == 200).all()
    np.testing.assert_allclose(drawn[:, -1], np.tile(100 + COLORS[255] / 2, (2, 1)), atol=0.5)


def test_overlay_takes_a_map_of_another_size():
    photo = np.full((40, 80, 3), 200, np.uint8)
    drawn = overlay(photo, HALVES)
    assert drawn.shape == photo.shape
    assert (drawn[:, :5] == 200).all()
    assert (drawn[:, -1] != 200).any()


def test_levels_have_the_colours_of_their_values():
    assert list(LEVEL_COLORS) == list(LEVELS)
    for name, value in LEVELS.items():
        assert LEVEL_COLORS[name] == "#" + bytes(colorize(np.full((1, 1), value))[0, 0]).hex()
    assert COLOR_SCALE.index(LEVEL_COLORS["none"]) < COLOR_SCALE.index(LEVEL_COLORS["high"])
    first, *_, last = re.findall("#[0-9a-f]{8}", LAYER_SCALE)
    assert (first, last) == (LEVEL_COLORS["none"] + "00", LEVEL_COLORS["high"] + "ff")


@pytest.mark.parametrize("opacity", [0.3, 0.8])
def test_a_layer_shown_at_an_opacity_is_the_overlay(opacity):
    """As a browser draws it: Pillow's own alpha compositing, the layer's alpha times the opacity."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (600, 40, 3), dtype=np.uint8)  # higher than one band of `overlay`
    values = rng.random((600, 40), np.float32)
    over = layer(values)
    over.putalpha(over.getchannel("A").point(lambda alpha: round(alpha * opacity)))
    expected = np.asarray(Image.alpha_composite(Image.fromarray(photo).convert("RGBA"), over).convert("RGB"))
    assert np.abs(overlay(photo, values, opacity).astype(int) - expected).max() <= 2


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (16, 65535)])
def test_grey_images_have_an_absolute_scale(bits, most):
    picture = np.asarray(grey_image(np.array([[0, 0.25, 1, 1.5]]), bits))
    assert picture.tolist() == [[0, round(0.25 * most), most, most]]


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (1, 1), (4, 600), (600, 4)])
def test_figure_shows_photo_maps_and_verdict(make_report, shape):
    blur = np.full(shape, 0.3)
    report = make_report(blur, 1 - blur, "good-blur", size=(10 * shape[1], 10 * shape[0]))
    figure = report.figure()
    shown = [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]
    assert len(shown) == 3
    for image, expected in zip(shown, (np.zeros((*shape, 3)), colorize(blur), colorize(1 - blur)), strict=True):
        np.testing.assert_array_equal(image, expected)
    texts = [text.get_text() for text in figure.texts]
    assert "good-blur" in texts
    assert report.reason in [" ".join(text.split()) for text in texts]
    labels = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in figure.axes]
    assert list(LEVELS) in labels


def test_the_scales_of_the_figure_do_not_depend_on_the_photo(make_report):
    for value in (0.0, 0.3):
        figure = make_report(np.full((8, 8), value), np.full((8, 8), value)).figure()
        ends = {"none", "unimportant"}
        scales = [a.get_xlim() for a in figure.axes if ends & {tick.get_text() for tick in a.get_xticklabels()}]
        assert scales == [(0, 1), (0, 1)]


def test_figure_fits_its_paper(make_report):
    """Nothing is cut off: every text and panel lies inside the figure."""
    report = make_report(np.full((60, 90), 0.5), np.full((60, 90), 0.6), "good-blur", size=(99999, 99999))
    figure = report.figure()
    FigureCanvasAgg(figure).draw()
    paper = figure.bbox
    for artist in (*figure.texts, *figure.axes):
        box = artist.get_tightbbox()
        assert paper.x0 <= box.x0 and box.x1 <= paper.x1 and paper.y0 <= box.y0 and box.y1 <= paper.y1, artist


def test_every_class_has_a_colour(make_report):
    assert list(LABEL_COLORS) == list(make_report(np.zeros((2, 2)), np.zeros((2, 2))).probabilities)
