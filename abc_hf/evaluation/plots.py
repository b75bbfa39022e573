"""The figures of an evaluation, drawn from results.json in the colours of visualization.py."""

from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from ..data.card import UNKNOWN_COLORS, truth_colors
from ..image_processing_abc_fusenet import resize_map
from ..losses import AMOUNT_UNKNOWN, UNKNOWN
from ..visualization import COLORS, GREY, INK, LABEL_COLORS, LEVELS, color_bar, colorize
from .metrics import CONFIDENCE_BINS, curve_area

METHOD_COLORS = ("#0b6e69", "#cd4071", "#d9a521", "#451077", "#5b8fd6", "#7a5230")
"""Lines of the methods scored here. The evaluated method has the first colour."""
LINE = "#d9d9d9"
DPI = 150


def styled(figure: Figure, axes, title: str, note: str = "") -> None:
    """The look of all charts: title at the left, no box, a note below."""
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(length=0, labelsize=9, labelcolor=GREY)
    axes.xaxis.label.set(fontsize=10, color=INK)
    axes.yaxis.label.set(fontsize=10, color=INK)
    if note:
        high = figure.get_figheight()
        bottom = (0.2 + 0.16 * (1 + note.count("\n"))) / high
        figure.set_layout_engine("constrained", rect=(0.01, bottom, 0.98, 1 - bottom - 0.08 / high))
        figure.text(0.012, 0.1 / high, note, fontsize=8, color=GREY, va="bottom", linespacing=1.3)


def chart(width: float, height: float) -> tuple:
    figure = Figure((width, height), dpi=DPI, facecolor="white", layout="constrained")
    return figure, figure.add_subplot()


def precision_axis(axes, lowest: float) -> None:
    """Set the limits: recall from 0 to 1, precision from a round number below the lowest value."""
    axes.set(
        xlim=(0, 1.005), ylim=(max(0, np.floor(10 * lowest) / 10 - 0.1), 1.01), xlabel="recall", ylabel="precision"
    )
    axes.grid(color=LINE, lw=0.6, alpha=0.6)


def precision_recall(
    curves: dict[str, dict], title: str, note: str = "", published: dict[str, dict] | None = None
) -> Figure:
    """Precision-recall curves {name: {"precision", "recall"}} with the area under each; `published` ones dashed."""
    figure, axes = chart(8.2, 5.2)
    published = published or {}
    colors = [color for position, color in enumerate(COLORS / 255) if position % 20 == 19][: len(published)]
    for (name, curve), color in zip(sorted_by_area(published), colors, strict=False):
        label = f"{curve_area(*arrays(curve)):.3f}  {name}"
        axes.plot(curve["recall"], curve["precision"], "--", color=color, lw=1.1, alpha=0.8, label=label)
    for (name, curve), color in zip(curves.items(), METHOD_COLORS * len(curves), strict=False):
        precision, recall = arrays(curve)
        order = np.argsort(recall)
        label = f"{curve_area(precision, recall):.3f}  {name}"
        axes.plot(
            np.r_[0, recall[order]], np.r_[precision[order][0], precision[order]], color=color, lw=2.6, label=label
        )
    precision_axis(axes, min(min(curve["precision"]) for curve in [*curves.values(), *published.values()]))
    lines = axes.get_lines()
    legend_beside(axes, "area under the curve", lines[len(lines) - len(curves) :] + lines[: len(lines) - len(curves)])
    styled(figure, axes, title, note)
    return figure


def legend_beside(axes, title: str, lines) -> None:
    legend = axes.legend(
        handles=list(lines), title=title, loc="upper left", bbox_to_anchor=(1.01, 1.01), frameon=False, fontsize=9,
        title_fontsize=9, alignment="left", labelcolor=INK,
    )  # fmt: skip
    legend.get_title().set_color(GREY)


def arrays(curve: dict) -> tuple[np.ndarray, np.ndarray]:
    return np.array(curve["precision"]), np.array(curve["recall"])


def sorted_by_area(curves: dict[str, dict]) -> list[tuple[str, dict]]:
    return sorted(curves.items(), key=lambda item: -curve_area(*arrays(item[1])))


def class_precision_recall(curves: dict[str, dict], scores: dict[str, dict], title: str, note: str = "") -> Figure:
    """The curve of each class against the rest, with its photos and average precision."""
    figure, axes = chart(8.2, 5.2)
    for name, curve in curves.items():
        label = f"{scores[name]['average_precision']:.3f}  {name} ({scores[name]['photos']})"
        best = dict(zip(curve["recall"], curve["precision"], strict=True))  # of the highest threshold
        best.pop(0.0, None)  # before the first hit precision means nothing
        recall, precision = np.array(sorted(best.items())).T
        axes.step(np.r_[0, recall], np.r_[precision[0], precision], color=LABEL_COLORS[name], lw=2.2, label=label)
    precision_axis(axes, 0)
    legend_beside(axes, "average precision, class (photos)", axes.get_lines())
    styled(figure, axes, title, note)
    return figure


def confusion_matrix(matrix: list[list[int]], names: list[str], title: str, note: str = "") -> Figure:
    """Rows are the truth; a cell's colour is its share of the row."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = chart(6.2, 5.6)
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("teal", ["#f0f3f3", METHOD_COLORS[0]]), vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        ink = "white" if share > 0.5 else INK
        axes.text(column, row - 0.08, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=13)
        count = counts[row, column]
        text = f"{count:,}" if counts.sum() < 1e5 else f"{count / 1e6:.2f} M"
        axes.text(column, row + 0.22, text, ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="truth")
    styled(figure, axes, title, note)
    axes.spines[:].set_visible(False)
    axes.tick_params(labelcolor=INK, labelsize=10)
    for edge in np.arange(0.5, len(names) - 1):
        axes.axhline(edge, color="white", lw=3)
        axes.axvline(edge, color="white", lw=3)
    return figure


def reliability_diagram(bins: list[dict], ece: float, title: str, note: str = "") -> Figure:
    """Accuracy over confidence; below, the number of photos in each bin."""
    figure = Figure((5.6, 6.0), dpi=DPI, facecolor="white", layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    width = 1 / CONFIDENCE_BINS
    left = [each["from"] for each in bins]
    axes.bar(left, [each["accuracy"] for each in bins], width * 0.92, align="edge", color=METHOD_COLORS[0], alpha=0.85)
    axes.plot([0, 1], [0, 1], "--", color=INK, lw=1.1, label="as often right as it says")
    axes.scatter(
        [each["confidence"] for each in bins], [each["accuracy"] for each in bins], s=34, color="white", zorder=3,
        edgecolor=INK, linewidth=1.2,
    )  # fmt: skip
    axes.legend(
        title=f"expected calibration error {ece:.3f}", loc="upper left", frameon=False, fontsize=9, title_fontsize=11,
        labelcolor=GREY, alignment="left",
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    below.bar(left, [each["photos"] for each in bins], width * 0.92, align="edge", color="#b9bec4")
    for each in bins:
        below.text(each["from"] + width * 0.46, each["photos"], each["photos"], ha="center", va="bottom", fontsize=8)
    below.set(xlabel="probability of the predicted class", ylabel="photos")
    below.set_ylim(0, 1.25 * max(each["photos"] for each in bins))
    styled(figure, axes, title, note)
    styled(figure, below, "")
    below.set_yticks([])
    return figure


def gallery(title: str, rows: list[dict], columns: list[str]) -> Figure:
    """Photos beside maps.

    rows: {"photo": RGB image, "caption": str, "images": one (h, w, 3) uint8 array per column after the first}. All are
    drawn at the same width. columns: their titles, that of the photo first.
    """
    panel, gap, caption, header, footer, margin = 2.6, 0.12, 0.34, 0.85, 0.75, 0.25  # inches
    tall = [panel * float(np.clip(row["photo"].height / row["photo"].width, 0.4, 1.2)) for row in rows]
    width = 2 * margin + len(columns) * panel + (len(columns) - 1) * gap
    height = header + sum(tall) + len(rows) * (caption + gap) + footer
    figure = Figure((width, height), dpi=DPI, facecolor="white")

    def text(x: float, y: float, string: str, **style):
        figure.text(x / width, y / height, string, **{"color": INK, "va": "top", "fontsize": 9, **style})

    text(margin, height - 0.2, title, fontsize=14, fontweight="bold")
    for index, name in enumerate(columns):
        text(margin + index * (panel + gap), height - header + 0.22, name, color=GREY, fontsize=10)
    top = height - header
    for row, high in zip(rows, tall, strict=True):
        for index, image in enumerate([np.asarray(row["photo"]), *row["images"]]):
            left = margin + index * (panel + gap)
            frame = figure.add_axes((left / width, (top - high) / height, panel / width, high / height))
            frame.imshow(image, interpolation="antialiased", aspect="equal")
            frame.set_anchor("NW")
            frame.set_axis_off()
        text(margin, top - high - 0.07, row["caption"], color=INK)
        top -= high + caption + gap
    bar_axes = figure.add_axes((margin / width, 0.42 / height, 1.6 * panel / width, 0.13 / height))
    names = dict(zip(["no blur", *list(LEVELS)[1:-1], "high blur"], LEVELS.values(), strict=True))
    color_bar(figure, bar_axes, names, fontsize=8)
    labels = {AMOUNT_UNKNOWN: "blurred, amount not labelled", UNKNOWN: "not labelled"}
    swatches = [Patch(color=UNKNOWN_COLORS[value], label=label) for value, label in labels.items()]
    figure.legend(
        handles=swatches, loc="upper left", bbox_to_anchor=((margin + 1.6 * panel + 0.15) / width, 0.62 / height),
        frameon=False, fontsize=8, labelcolor=GREY, handlelength=1.2, ncols=1, borderpad=0, labelspacing=0.3,
    )  # fmt: skip
    return figure


def gallery_images(truth: np.ndarray | None, maps: list[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    """The truth and the maps of one photo as colours, at its size (width, height)."""
    height, width = size[::-1]
    painted: list[np.ndarray] = []
    if truth is not None:
        resized = Image.fromarray(truth).resize((width, height), Image.Resampling.NEAREST)
        painted.append(truth_colors(np.asarray(resized), "blur_map"))
    return painted + [colorize(resize_map(values, (height, width))) for values in maps]


def read_curve(path: Path) -> dict[str, list[float]]:
    """Read a published curve, rows of precision and recall. Raises ValueError with the name of the file."""
    try:
        table = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a curve ({error}).") from error
    if table.shape[1] != 2 or len(table) < 2 or table.min() < 0 or table.max() > 1:
        raise ValueError(f"{path} must hold rows of a precision and a recall in 0..1.")
    return {"precision": table[:, 0].tolist(), "recall": table[:, 1].tolist()}


def read_curves(folder: Path) -> dict[str, dict]:
    """The published curves of a folder, NAME.txt each."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder; give the one that holds the curves.")
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ValueError(f"{folder} holds no curves (NAME.txt, rows of precision and recall).")
    return {file.stem: read_curve(file) for file in files}
