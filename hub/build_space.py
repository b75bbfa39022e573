"""Write the folder of the Space: `python -m hub.build_space OUT`. hub/push_space.py also uploads it."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from abc_hf import load_pipeline
from hub.cards import space_card

ROOT = Path(__file__).parents[1]


def build_space(out: Path, model: str | None = None, repo: str | None = None, links: Sequence[str] = ()) -> list[str]:
    """Write app.py, the package with its weights and examples, and the files of hub/space.

    Args:
        model: a folder or a name on the Hub. The Space gets these weights instead of the bundled ones.
        repo: the name of the Space on the Hub.
        links: the repositories that its card links to.

    Returns:
        the files, as paths in the folder.

    Raises:
        FileExistsError: if the folder is there already.
        ValueError: if there is no such model.
    """
    pipeline = None if model is None else load_pipeline(model, device="cpu")
    shutil.copytree(ROOT / "hub" / "space", out)
    shutil.copytree(ROOT / "abc_hf", out / "abc_hf", ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
    for name in ("app.py", "LICENSE"):
        shutil.copy(ROOT / name, out)
    weights = out / "abc_hf" / "pretrained" / "mobile"
    if pipeline is not None:
        source = Path(str(pipeline.model.name_or_path))  # a folder, also for a model from the Hub
        shutil.rmtree(weights)
        weights.mkdir()
        for name in ("config.json", "model.safetensors", "preprocessor_config.json", "run.json"):
            if (source / name).exists():
                shutil.copy(source / name, weights)
    if model is not None and not Path(model).is_dir() and model not in links:
        links = [model, *links]
    card = out / "README.md"
    card.write_text(space_card(card.read_text(), weights, repo, links))
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m hub.build_space", description=__doc__)
    parser.add_argument("out", type=Path, help="a folder that does not exist")
    args = parser.parse_args(argv)
    try:
        files = build_space(args.out)
    except FileExistsError:
        parser.error(f"{args.out} exists; choose another folder, or remove it.")
    print(f"{len(files)} files in {args.out}")


if __name__ == "__main__":
    main()
