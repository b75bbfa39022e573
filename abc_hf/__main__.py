"""`python -m abc_hf`: the command `abc-fusenet`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
