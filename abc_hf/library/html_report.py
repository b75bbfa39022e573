"""The HTML report of `abc-fusenet sort`: a page that reads its data from files beside it and asks nothing of any host.

`report.html` loads `report/photos-0000.js` and so on one after the other, as scripts, because a page opened from disk
may not read files in other ways. Thumbnails are loaded where they come into view. `write_report(single_file=True)` puts
everything into the page itself.
"""

import base64
import contextlib
import hashlib
import html
import json
import math
import os
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..common.files import write_bytes
from ..configuration_abc_fusenet import DESIRABILITY
from ..verdicts import GROUPS, KINDS, NOT_SURE, THRESHOLD, VERDICTS
from ..visualization import COLOR_SCALE, COLORS, LABEL_COLORS
from .containers import INSIDE
from .table import PROBABILITIES, thumbnail_files

CHUNK = 2000
"""Photos in a data file."""
SINGLE_FILE_PHOTOS = 500
"""The most photos of a report in a single file."""
SCRIPTS = ("photos.js", "grid.js", "page.js")
AS_THEY_ARE = {
    name: name for name in ("path", "certain", "kind", "taken", "width", "height", "burst", "faces", "error")
}
AS_THEY_ARE |= {name: name for name in ("rating", "companions", "set", "score")}  # the page compares scores exactly
AS_THEY_ARE |= {"raw": "raw_path", "rank": "burst_rank", "sharpness": "subject_sharpness", "eyes": "eye_sharpness"}
AS_THEY_ARE |= {"place": "moved_to", "color": "color_label", "setKind": "set_kind"}
ROUNDED = {"subject": ("blur_on_subject", 3), "background": ("blur_on_background", 3), "fraction": ("blur_fraction", 3)}
ROUNDED |= {"radius": ("subject_blur_radius", 1), "x": ("subject_x", 3), "y": ("subject_y", 3)}
TEXTS = {"reason": "reason", "camera": "camera", "look": "closer_look"}
"""The names that the page has for columns of the table; the digits of those that are rounded; those kept in `texts`."""


def write_report(
    out: str | Path, single_file: bool = False, threshold: float = THRESHOLD, reject_soft: float | None = None
) -> Path:
    """Write the report on `out/photos.parquet` to `out/report.html` and, unless it is a single file, `out/report/`.

    Args:
        threshold: where the slider stands at first; photos that score less are flagged `reject`.
        reject_soft: photos that are less sharp at 100 % are flagged, too, 0..1; None flags none for it.

    Raises:
        ValueError: if there are too many photos for a single file.
    """
    out = Path(out)
    table = pq.ParquetFile(out / "photos.parquet")
    total = table.metadata.num_rows
    if single_file:
        check_single_file(total)
    settings = report_settings(out, total, threshold) | {"soft": reject_soft}
    title = html.escape(common_folder(table) or out.resolve().name or "Photos")
    folder = out / "report"
    remove_parts(folder)
    if single_file:
        parts = [script("const REPORT = " + as_json({**settings, "chunks": 0}) + ";")]
        parts += [script(page_part(name)) for name in SCRIPTS]
        parts += [script(chunk) for chunk in chunks(table, out)]
        return write_page(out, title, f"<style>\n{styles()}</style>", "\n".join(parts))
    folder.mkdir(exist_ok=True)
    write(folder / "settings.js", "const REPORT = " + as_json(settings) + ";\n")
    write(folder / "page.css", styles())
    for name in SCRIPTS:
        write(folder / name, page_part(name))
    for number, chunk in enumerate(chunks(table)):
        write(folder / f"photos-{number:04}.js", chunk)
    tags = "\n".join(f'<script src="report/{name}"></script>' for name in ("settings.js", *SCRIPTS))
    return write_page(out, title, '<link rel="stylesheet" href="report/page.css">', tags)


def remove_parts(folder: Path):
    """Remove the files of an earlier report from a folder, and the folder if it is empty then."""
    for path in [*folder.glob("photos-*.js"), *(folder / name for name in ("settings.js", "page.css", *SCRIPTS))]:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def write(path: Path, text: str):
    write_bytes(path, text.encode(), sync=False)  # a part that is lost is made again


def check_single_file(total: int):
    """Refuse too many photos for a report in a single file. Raises ValueError."""
    if total > SINGLE_FILE_PHOTOS:
        raise ValueError(
            f"--single-file holds up to {SINGLE_FILE_PHOTOS} photos and there are {total}; leave it out, and the "
            "report is a folder."
        )


def write_page(out: Path, title: str, styles: str, scripts: str) -> Path:
    filled = {
        "title": title,
        "styles": styles,
        "scripts": scripts,
        "color_scale": COLOR_SCALE,
        "color_tables": "".join(
            f'<feFunc{channel} type="table" tableValues="{" ".join(f"{value / 255:.4f}" for value in values)}"/>'
            for channel, values in zip("RGB", COLORS[::15].T.tolist(), strict=True)
        ),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match[1]], page_part("page.html"))
    path = out / "report.html"
    write(path, page)
    return path


def page_part(name: str) -> str:
    return resources.files(__package__).joinpath("report_page", name).read_text("utf-8")


def styles() -> str:
    tones = [f'[data-group="{group}"] {{ --tone: {LABEL_COLORS[label]}; }}' for group, label in enumerate(DESIRABILITY)]
    tones.append(f'[data-group="{len(DESIRABILITY)}"] {{ --tone: var(--soft); }}')
    return "\n".join([page_part("page.css"), *tones]) + "\n"


def script(text: str) -> str:
    return f"<script>\n{text}\n</script>"


def report_settings(out: Path, total: int, threshold: float) -> dict:
    """The facts of the report as a whole, for the page. A photo's group is its number in `DESIRABILITY`, or the number
    after them for a photo that could not be opened."""
    return {
        "id": hashlib.sha1(str(out.resolve()).encode(errors="surrogateescape")).hexdigest()[:12],
        "total": total,
        "chunks": math.ceil(total / CHUNK),
        "data": "report",
        "thumbs": "thumbs",
        "threshold": threshold,
        "labels": DESIRABILITY,
        "kinds": KINDS,
        "not_sure": NOT_SURE,
        "names": [*(VERDICTS[label][0] for label in DESIRABILITY), "Could not be opened"],
        "order": [*(DESIRABILITY.index(label) for label in GROUPS), len(DESIRABILITY)],
    }


def chunks(table: pq.ParquetFile, inline_from: Path | None = None) -> Iterator[str]:
    """A script for each `CHUNK` photos. With a folder, the pictures in it become part of the script."""
    for batch in table.iter_batches(CHUNK):
        yield "receive(" + as_json(page_columns(batch.to_pylist(), inline_from)) + ");\n"


def page_columns(rows: list[dict], inline_from: Path | None = None) -> dict[str, list]:
    """The photos for the page, column by column; reasons and cameras as numbers into `texts`."""
    texts: dict[str | None, int] = {}

    def text(value: str | None) -> int:
        return -1 if value is None else texts.setdefault(value, len(texts))

    def rounded(name: str, digits: int) -> list:
        return [None if row[name] is None else round(row[name], digits) for row in rows]

    files = [thumbnail_files(inline_from or "", row["path"]) if row["label"] else (None, None) for row in rows]
    return {
        "key": [thumbnail_files("", row["path"])[0].stem[:12] for row in rows],
        "picture": [picture(photo, bool(inline_from)) for photo, _ in files],
        "map": [picture(blur_map, bool(inline_from)) for _, blur_map in files],
        "label": [DESIRABILITY.index(row["label"]) if row["label"] else None for row in rows],
        "between": [
            row["between"] and [DESIRABILITY.index(each) for each in row["between"].split(" or ")] for row in rows
        ],
        "shares": [[round(100 * row[name]) for name in PROBABILITIES] if row["label"] else None for row in rows],
        **{name: [row[column] for row in rows] for name, column in AS_THEY_ARE.items()},
        **{name: rounded(source, digits) for name, (source, digits) in ROUNDED.items()},
        **{name: [text(row[source]) for row in rows] for name, source in TEXTS.items()},
        "texts": list(texts),
    }


def picture(path: Path | None, inline: bool) -> str | None:
    """A picture's name, or its bytes as a data URI for a page in one file."""
    if path is None or (inline and not path.exists()):
        return None
    if not inline:
        return path.name
    kind = "png" if path.suffix == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def as_json(value) -> str:
    """JSON that is also ASCII, a JavaScript expression, and safe inside a <script>."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def common_folder(table: pq.ParquetFile) -> str:
    """The name of the folder, or of the archive or Parquet file, that all photos are in; nothing, if there is none."""
    ends = pc.min_max(table.read(["path"])["path"]).as_py()
    if ends["min"] is None:
        return ""
    start = os.path.commonprefix(list(ends.values()))  # noqa: RUF071  # it may end inside an archive
    file, inside, _ = start.partition(INSIDE)
    name = os.path.basename(file if inside else os.path.dirname(start))
    return "".join(c if c.isprintable() else "?" for c in name)
