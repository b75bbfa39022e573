"""Environments that install everything but torch, which takes gigabytes."""

import re
import sys
from pathlib import Path

import torch


def lend_torch(environment: Path) -> None:
    """Let an environment that is still to be made see this one's torch and its libraries."""
    lent = environment / "lent"
    site = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for folder in (lent, site):
        folder.mkdir(parents=True)
    for package in Path(torch.__file__).parents[1].iterdir():
        if re.match(r"(torch|torchgen|functorch|triton|nvidia\w*|cuda\w*)([-.]|$)", package.name):
            (lent / package.name).symlink_to(package)
    (site / "lent.pth").write_text(f"{lent}\n")
