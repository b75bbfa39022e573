"""Upload the demo as a Space: `python -m hub.push_space --repo USER/NAME`.

hub/build_space.py writes the folder. A fresh interpreter that has only the code of the folder checks it. Then the files
are listed, and --yes uploads them; the Space restarts.

With --static the Space is a page that judges photos in the browser (abc_hf/demo/static.py). It needs no server, and
photos are sent nowhere.
"""

import argparse
from pathlib import Path

from abc_hf import load_pipeline
from abc_hf.demo.static import write_static
from hub.build_space import ROOT, build_space
from hub.cards import HERE, space_card
from hub.uploading import parser_of, push, run_cold

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
    for made in folder.rglob("__pycache__"):
        for file in made.iterdir():
            file.unlink()
        made.rmdir()
    print(f"Checked with the code of the folder alone: the example is judged {told['report']['label']}.")


def build_static(args: argparse.Namespace, folder: Path) -> None:
    """Write the page and its card. Raises ValueError without the packages for ONNX, or without npm."""
    pipeline = load_pipeline(args.model, device="cpu")
    try:
        write_static(pipeline, folder)
    except ImportError as error:
        raise ValueError(str(error)) from None
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
