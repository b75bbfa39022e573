"""The demo as a static page, which judges photos in the browser and sends them nowhere.

Any file server can offer the folder. ONNX Runtime Web, from the npm registry, runs the network.
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from .. import verdicts
from ..configuration_abc_fusenet import DESIRABILITY, KINDS
from ..inference.export import store_weights, write_onnx
from ..photos import MAX_RATIO
from ..pipeline import BlurUnderstandingPipeline
from ..visualization import COLORS, LABEL_COLORS, LAYER_SCALE, LEVEL_COLORS, LEVELS
from .photo_tab import CAPTIONS, EXAMPLES
from .style import CSS, web_file

ONNX_RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_FILES = {
    "ort.wasm.min.mjs": "wasm.mjs",
    "ort.jspi.min.mjs": "jspi.mjs",
    "ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    "ort-wasm-simd-threaded.jspi.mjs": "ort-wasm-simd-threaded.jspi.mjs",
    "ort-wasm-simd-threaded.jspi.wasm": "ort-wasm-simd-threaded.jspi.wasm",
}
"""The files of the npm package that the page needs, and their names in `ort`. A browser loads one pair of them."""
PAGE_FILES = ("index.html", "page.css", "page.js", "judge.js", "reasons.js", "worker.js")
WEIGHTS = "fp16"
"""How the network's weights are stored, see `store_weights`: int8 is smaller, and moves maps more than 0.02."""
NAMES = "value, verdicts, colors, levels, layer_scale, examples, limit, words"
"""The names that the templates read."""
PARTS = {"viewer": "figure", "verdict": "article", "examples": "nav"}
"""The parts of the demo's web/photo.html that the page uses: class and element."""


def write_static(pipeline: BlurUnderstandingPipeline, out: Path) -> list[str]:
    """Write the page to a new folder.

    Returns:
        the files, as paths in the folder.

    Raises:
        FileExistsError: if the folder is there already.
        ImportError: without the packages for ONNX.
        ValueError: without npm, or if npm cannot get ONNX Runtime Web.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another folder, or remove it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as made:
        folder = Path(made) / "page"
        folder.mkdir()
        copy_runtime(folder / "ort")
        write_onnx(pipeline.model, Path(made) / "network.onnx")
        store_weights(Path(made) / "network.onnx", WEIGHTS).rename(folder / "network.onnx")
        write_page(pipeline, folder)
        folder.rename(out)
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def copy_runtime(out: Path) -> None:
    """Get ONNX Runtime Web from the npm registry. Raises ValueError if that fails."""
    out.mkdir()
    with tempfile.TemporaryDirectory() as made:
        command = ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--prefix", made, ONNX_RUNTIME]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise ValueError(
                "The page needs ONNX Runtime Web from npm, which is not installed: install Node."
            ) from None
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout).strip().splitlines() or [f"exit status {error.returncode}"]
            raise ValueError(f"npm cannot get {ONNX_RUNTIME} ({said[-1].rstrip('.')}).") from None
        package = Path(made) / "node_modules" / "onnxruntime-web"
        for name, ours in RUNTIME_FILES.items():
            shutil.copy(package / "dist" / name, out / ours)


def write_page(pipeline: BlurUnderstandingPipeline, folder: Path) -> None:
    """Write everything except the network and the runtime."""
    for name in PAGE_FILES:
        (folder / name).write_text(web_file(f"static/{name}"), "utf-8")
    page = folder / "index.html"
    names = between(web_file("credits.html"), "<p", '<p class="note">Photos that you send')
    page.write_text(page.read_text("utf-8").replace("{credits}", names), "utf-8")
    (folder / "demo.css").write_text(CSS, "utf-8")
    (folder / "templates.js").write_text(templates(), "utf-8")
    (folder / "settings.json").write_text(json.dumps(settings(pipeline)), "utf-8")
    (folder / "examples").mkdir()
    for stem in CAPTIONS:
        shutil.copy(EXAMPLES / f"{stem}.jpg", folder / "examples")
    icons = {"icon.png": 512, "icon-small.png": 192}
    for name, size in icons.items():
        icon(size).save(folder / name, optimize=True)
    manifest = {
        "name": "ABC-FuseNet",
        "short_name": "ABC-FuseNet",
        "description": "Does the blur help this photo, or hurt it?",
        "start_url": "./",
        "display": "standalone",
        "background_color": "#ffffff",
        "theme_color": "#0f766e",
        "icons": [{"src": name, "sizes": f"{size}x{size}", "type": "image/png"} for name, size in icons.items()],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2), "utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    kept = ["./", *(path.relative_to(folder).as_posix() for path in files if path.parent.name != "ort")]
    script = web_file("static/service_worker.js").replace("{version}", digest).replace("{files}", json.dumps(kept))
    (folder / "service_worker.js").write_text(script, "utf-8")


def templates() -> str:
    """The demo's templates, the script of its viewer and its picture to share, as a JavaScript module."""
    photo = web_file("photo.html")
    parts = {"header": web_file("header.html")}
    for name, element in PARTS.items():
        parts[name] = between(photo, f'<{element} class="{name}"', f"</{element}>\n") + f"</{element}>"
    script = between(web_file("photo.js"), "async function load() {", 'element.addEventListener("click"')
    functions = [f"export const {name} = ({{{NAMES}}}) => `{text}`;" for name, text in parts.items()]
    viewer = web_file("static/viewer.js").replace("{script}", script)
    share = web_file("share.js") + web_file("rows.js") + "export {breakable, share_picture};"
    return "\n".join(['import {sides, why} from "./reasons.js";', *functions, viewer, share])


def between(text: str, first: str, end: str) -> str:
    """The part of a text from `first` on, up to `end`."""
    start = text.index(first)
    return text[start : text.index(end, start)]


def settings(pipeline: BlurUnderstandingPipeline) -> dict:
    """What the JavaScript reads instead of Python's constants."""
    processor = pipeline.image_processor
    return {
        "longest_edge": processor.size.longest_edge,
        "size_divisor": processor.size_divisor,
        "max_ratio": MAX_RATIO,
        "image_mean": list(processor.image_mean),
        "image_std": list(processor.image_std),
        "certain_from": pipeline.model.config.certain_from,
        "labels": list(DESIRABILITY),
        "kinds": {kind: verdicts.KINDS[kind] for kind in KINDS},
        "worth": verdicts.WORTH,
        "verdicts": verdicts.VERDICTS,
        "amounts": verdicts.AMOUNTS,
        "blur_of_kind": {kind or "none": words for kind, words in verdicts.BLUR_OF_KIND.items()},
        "rule": {
            "blurred": verdicts.BLURRED,
            "clearly_blurred": verdicts.CLEARLY_BLURRED,
            "nearly_all": verdicts.NEARLY_ALL,
            "core_attention": verdicts.CORE_ATTENTION,
            "core_quantile": verdicts.CORE_QUANTILE,
            "some": verdicts.SOME,
            "smallest_core": verdicts.SMALLEST_CORE,
        },
        "levels": LEVELS,
        "level_colors": {name: [LEVEL_COLORS[name], value] for name, value in LEVELS.items()},
        "layer_scale": LAYER_SCALE,
        "colors": LABEL_COLORS,
        "table": COLORS.tolist(),
        "examples": {stem: [name, f"examples/{stem}.jpg"] for stem, name in CAPTIONS.items()},
    }


def icon(size: int) -> Image.Image:
    """A sharp disc before soft colours: the page in the list of installed programs."""
    ramp = Image.linear_gradient("L").resize((size, size))
    picture = Image.composite(
        Image.new("RGB", (size, size), "#0f766e"), Image.new("RGB", (size, size), "#46039f"), ramp
    )
    disc = Image.new("L", (4 * size, 4 * size))
    disc.paste(255, (size, size, 3 * size, 3 * size))
    radius = Image.radial_gradient("L").resize((2 * size, 2 * size)).point(lambda value: 255 if value < 181 else 0)
    disc.paste(radius, (size, size))
    picture.paste("#f0f921", mask=disc.resize((size, size)))
    return picture
