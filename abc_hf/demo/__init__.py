"""The demo."""

from .page import about, build_demo, launch

__all__ = ["about", "build_demo", "launch"]
