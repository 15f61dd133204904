"""`python -m dia.evals`: the command without the rest of the command line."""

import sys

from dia.errors import BadInput, DiaError
from dia.evals.commands import app


def main() -> int:
    """Run the command; an error for people is one line on stderr, exit code 2 where the request must change, else 1."""
    try:
        app()
    except DiaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadInput) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
