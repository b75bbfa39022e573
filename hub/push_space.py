"""Upload the demo as a Space: `python -m hub.push_space --repo USER/NAME`.

A fresh interpreter that has only the code of the folder checks it. Then the files are listed, and --yes uploads them;
the Space restarts.

With --static the Space is a page that judges photos in the browser (abc_hf/demo/static.py). It needs no server, and
photos are sent nowhere.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from abc_hf import load_pipeline
from abc_hf.demo.static import write_static
from abc_hf.inference.loading import FILES
from hub.cards import HERE, space_card
from hub.uploading import parser_of, push, run_cold

ROOT = Path(__file__).parents[1]
ENDPOINTS = {"/assess", "/full_size", "/sort", "/compare"}


def build(args: argparse.Namespace, folder: Path) -> None:
    """Write the folder, and judge a photo with it. Raises ValueError if the folder does not work on its own."""
    if args.static:
        return build_static(args, folder)
    build_space(folder, args.model, args.repo, args.links)
    folder = folder.resolve()
    told = run_cold("space", folder, ROOT / "abc_hf" / "examples" / "bokeh.jpg", cwd=folder)
    if missing := ENDPOINTS - set(told["endpoints"]):
        raise ValueError(f"The Space lacks the endpoints {', '.join(sorted(missing))}.")
    print(f"Checked with the code of the folder alone: the example is judged {told['report']['label']}.")


def build_space(out: Path, model: str | None = None, repo: str | None = None, links: Sequence[str] = ()) -> None:
    """Write app.py, the package with its weights and examples, and the files of hub/space to a new folder.

    Args:
        model: a folder or a name on the Hub. The Space gets these weights instead of the bundled ones.
        repo: the name of the Space on the Hub.
        links: the repositories that its card links to.
    """
    shutil.copytree(ROOT / "hub" / "space", out)
    shutil.copytree(ROOT / "abc_hf", out / "abc_hf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "LICENSE"):
        shutil.copy(ROOT / name, out)
    weights = out / "abc_hf" / "pretrained" / "mobile"
    if model is not None:
        source = Path(str(load_pipeline(model, device="cpu").model.name_or_path))  # a folder, also if it is on the Hub
        shutil.rmtree(weights)
        weights.mkdir()
        for name in FILES:
            if (source / name).exists():
                shutil.copy(source / name, weights)
        if not Path(model).is_dir() and model not in links:
            links = [model, *links]
    card = out / "README.md"
    card.write_text(space_card(card.read_text(), weights, repo, links))


def build_static(args: argparse.Namespace, folder: Path) -> None:
    """Write the page and its card. Raises ImportError without the packages for ONNX, ValueError without npm."""
    pipeline = load_pipeline(args.model, device="cpu")
    write_static(pipeline, folder)
    weights = Path(str(pipeline.model.name_or_path))  # a folder, also for a model from the Hub
    card = space_card((HERE / "static_card.md").read_text(), weights, args.repo, args.links)
    (folder / "README.md").write_text(card)


def main(argv: list[str] | None = None) -> None:
    parser = parser_of("push_space", __doc__)
    parser.add_argument("--model", help="the weights to show: a folder or a name on the Hub; else the bundled ones")
    parser.add_argument("--static", action="store_true", help="a page that judges photos in the browser")
    push("space", parser, build, argv)


if __name__ == "__main__":
    main()
