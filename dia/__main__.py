"""`python -m dia`: the `dia` command where no script of that name is installed."""

import sys

from dia.cli.root import main

if __name__ == "__main__":
    sys.exit(main())
