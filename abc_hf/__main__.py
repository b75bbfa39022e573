"""`python -m abc_hf`: the command `abc-fusenet`."""

import sys

from .cli import program

if __name__ == "__main__":
    sys.exit(program())
