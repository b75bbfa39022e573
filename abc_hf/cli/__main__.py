"""`python -m abc_hf.cli`: the command `abc-fusenet`."""

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main())
