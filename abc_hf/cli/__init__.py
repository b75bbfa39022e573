"""The command `abc-fusenet`."""

from .main import main, program

__all__ = ["main", "program"]
