# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""All colours and figures of maps and reports.

A map is drawn on its full range of 0..1 and never stretched per photo. So the same value has the same colour in every
photo.
"""

import textwrap

import numpy as np
from PIL import Image

from .image_processing_abc_fusenet import resize_map

LEVELS = {"none": 0.0, "low": 1 / 3, "medium": 2 / 3, "high": 1.0}
"""The blur levels of the paper and their values in the blur map."""


def color_table(stops: str) -> np.ndarray:
    """(256, 3) uint8 RGB between equidistant stops, hexadecimal colours."""
    colors = np.array([list(bytes.fromhex(stop)) for stop in stops.split()])
    position, at = np.linspace(0, 1, 256), np.linspace(0, 1, len(colors))
    return np.stack([np.interp(position, at, channel) for channel in colors.T], axis=1).round().astype(np.uint8)


COLORS = color_table("0d0887 46039f 7401a8 9c179e bd3786 d8576b ed7953 fa9e3b fdca26 f0f921")
"""Matplotlib's "plasma" at ten stops: perceptually uniform, safe for the colour-blind, and no colour of it looks like
fog. 0 is dark blue, 1 is yellow. Over a photo 0 is clear, see `layer`."""
LABEL_COLORS = {"no-blur": "#2a788e", "good-blur": "#22a884", "ok-blur": "#d9a521", "bad-blur": "#cd4071"}
INK, GREY = "#222222", "#767676"


def colorize(values: np.ndarray) -> np.ndarray:
    """A map (H, W) in 0..1 as colours (H, W, 3) uint8."""
    return COLORS[np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)]


LEVEL_COLORS = {name: "#" + bytes(colorize(np.array(value))).hex() for name, value in LEVELS.items()}
"""The colour of each blur level."""
COLOR_SCALE = f"linear-gradient(to right, {', '.join('#' + bytes(color).hex() for color in COLORS[::15])})"
"""The colours of 0..1 as CSS."""
LAYER_SCALE = f"linear-gradient(to right, {', '.join(f'#{bytes(COLORS[i]).hex()}{i:02x}' for i in range(0, 256, 15))})"
"""The colours of 0..1 as CSS, as `layer` has them: 0 is clear."""


def overlay(photo: Image.Image | np.ndarray, values: np.ndarray, opacity: float = 0.8) -> np.ndarray:
    """Lay a map in 0..1, of any size, over an RGB photo. A value of 1 covers the photo by `opacity`, 0 not at all.
    Returns (H, W, 3) uint8 at the photo's size."""
    photo = np.asarray(photo)
    values = np.clip(resize_map(values, photo.shape[:2]), 0, 1)
    picture = np.empty_like(photo)
    for top in range(0, len(photo), 256):  # in bands: a whole 50-megapixel photo in floats would take gigabytes
        band = slice(top, top + 256)
        weight = opacity * values[band, :, None]
        picture[band] = np.rint(photo[band] * (1 - weight) + colorize(values[band]) * weight).astype(np.uint8)
    return picture


def layer(values: np.ndarray) -> Image.Image:
    """A map in 0..1 as an RGBA picture. Shown over a photo at some opacity, the picture looks like `overlay`."""
    alpha = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.dstack([colorize(values), alpha]))


def grey_image(values: np.ndarray, bits: int = 8) -> Image.Image:
    """A map in 0..1 as a grey picture of 8 or 16 bits; white is 1."""
    return Image.fromarray(np.rint(np.clip(values, 0, 1) * (2**bits - 1)).astype(f"uint{bits}"))


def report_figure(report):
    """Draw a `BlurReport`: the verdict and its reason, the photo, the blur map and the attention map.

    Returns a `matplotlib.figure.Figure`. Raises ImportError without Matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("Figures need Matplotlib; run `pip install matplotlib`.") from None

    width, margin, gap, header, footer = 12.0, 0.3, 0.25, 1.65, 0.75  # inches
    panel = (width - 2 * margin - 2 * gap) / 3
    tall = panel * float(np.clip(report.preview.height / report.preview.width, 0.45, 1.5))
    height = header + tall + footer
    figure = Figure((width, height), dpi=120, facecolor="white")

    def axes(left: float, bottom: float, wide: float, high: float):
        return figure.add_axes((left / width, bottom / height, wide / width, high / height))

    def text(x: float, y: float, string: str, **style):
        figure.text(x / width, y / height, string, **{"color": INK, "va": "top", **style})

    top = height - margin
    text(margin, top, report.label, fontsize=24, fontweight="bold", color=LABEL_COLORS[report.label])
    text(
        margin + 2.2,
        top - 0.1,
        f"score {report.score:.2f}{'' if report.certain else ', not sure'}",
        fontsize=13,
        color=GREY,
    )
    text(margin, top - 0.52, textwrap.fill(report.reason, 88), fontsize=11, linespacing=1.4)

    bars = axes(width - margin - 2.35, height - header + 0.4, 2.0, header - 0.6)
    labels, shares = list(report.probabilities), list(report.probabilities.values())
    bars.barh(labels, [1.0] * len(labels), color="#eeeeee", height=0.55)
    bars.barh(labels, shares, color=[LABEL_COLORS[label] for label in labels], height=0.55)
    for row, share in enumerate(shares):
        bars.text(1.03, row, f"{share:.0%}", va="center", fontsize=9, color=INK)
    bars.set(xlim=(0, 1), xticks=[])
    bars.invert_yaxis()
    bars.tick_params(length=0, labelsize=9, labelcolor=INK)
    bars.spines[:].set_visible(False)

    photo = report.preview
    panels = (
        ("Photo", np.asarray(photo), None),
        ("Blur", colorize(report.small_blur_map), LEVELS),
        ("Attention", colorize(report.small_attention_map), {"unimportant": 0.0, "what the photo is about": 1.0}),
    )
    for index, (title, image, names) in enumerate(panels):
        left = margin + index * (panel + gap)
        frame = axes(left, footer, panel, tall)
        frame.imshow(image, interpolation="antialiased")
        frame.set_anchor("NW")
        frame.set_axis_off()
        text(left, height - header + 0.22, title, fontsize=10, color=GREY)
        if names is None:
            size = f"{report.size[0]} × {report.size[1]} pixels, judged at {photo.width} × {photo.height}"
            text(left, footer - 0.15, size, fontsize=9, color=GREY)
            continue
        color_bar(figure, axes(left, footer - 0.3, panel, 0.15), names)
    return figure


def color_bar(figure, axes, names: dict[str, float], fontsize: int = 9) -> None:
    """Draw the colours of 0..1 into axes, with names below some values, of which the first is 0 and the last 1."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    colors = ScalarMappable(cmap=ListedColormap(COLORS / 255))
    colors.set_clim(0, 1)
    bar = figure.colorbar(colors, cax=axes, orientation="horizontal")
    bar.set_ticks(list(names.values()), labels=list(names), fontsize=fontsize, color=GREY)
    first, *_, last = bar.ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
