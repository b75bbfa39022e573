"""`python -m abc_hf.cli`: the command `abc-fusenet`."""

import sys

from .main import program

if __name__ == "__main__":
    sys.exit(program())
