# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Upload the demo as a Space: `python -m hub.push_space --repo USER/NAME`.

hub/build_space.py writes the folder. A fresh interpreter that has only the code of the folder checks it. Then the files
are listed, and --yes uploads them; the Space restarts.
"""

import argparse
from pathlib import Path

from hub.build_space import ROOT, build_space
from hub.uploading import parser_of, push, run_cold

ENDPOINTS = {"/assess", "/full_size", "/sort", "/compare"}


def build(args: argparse.Namespace, folder: Path) -> None:
    """Write the folder, and judge a photo with it. Raises ValueError if the folder does not work on its own."""
    build_space(folder, args.model)
    folder = folder.resolve()
    told = run_cold("space", folder, ROOT / "abc_hf" / "examples" / "bokeh.jpg", cwd=folder)
    if missing := ENDPOINTS - set(told["endpoints"]):
        raise ValueError(f"The Space lacks the endpoints {', '.join(sorted(missing))}.")
    for made in folder.rglob("__pycache__"):
        for file in made.iterdir():
            file.unlink()
        made.rmdir()
    print(f"Checked with the code of the folder alone: the example is judged {told['report']['label']}.")


def main(argv: list[str] | None = None) -> None:
    parser = parser_of("push_space", __doc__)
    parser.add_argument("--model", help="the weights to show: a folder or a name on the Hub; else the bundled ones")
    push("space", parser, build, argv)


if __name__ == "__main__":
    main()
