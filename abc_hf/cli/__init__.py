"""The command `abc-fusenet`."""

from .main import main

__all__ = ["main"]
