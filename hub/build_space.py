# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Write the folder that is the Space: `python -m hub.build_space OUT`.

`hf upload NAME OUT --repo-type space` then pushes it as it is.
"""

import argparse
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build_space(out: Path) -> list[str]:
    """Write app.py, the package with its weights and examples, and the files of hub/space.

    Returns:
        the files, as paths in the folder.

    Raises:
        FileExistsError: if the folder is there already.
    """
    shutil.copytree(ROOT / "hub" / "space", out)
    shutil.copytree(ROOT / "abc_hf", out / "abc_hf", ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
    for name in ("app.py", "LICENSE"):
        shutil.copy(ROOT / name, out)
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m hub.build_space", description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, help="a folder that does not exist")
    args = parser.parse_args(argv)
    try:
        files = build_space(args.out)
    except FileExistsError:
        parser.error(f"{args.out} exists; choose another folder, or remove it.")
    print(f"{len(files)} files in {args.out}")


if __name__ == "__main__":
    main()
