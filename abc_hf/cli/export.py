"""`abc-fusenet export`."""

import argparse

from ..common.text import printable


def export_model(args: argparse.Namespace) -> int:
    from ..inference.export import FILES, export
    from ..inference.loading import load_pipeline

    pipe = load_pipeline(args.model, device="cpu")
    difference = export(pipe.model, pipe.image_processor, args.format, args.out)
    file = printable(args.out / FILES[args.format])
    print(f"{file} differs from PyTorch by {difference:.1g} at most; README.md beside it says how it is run.")
    return 0
