"""What is said where a package is missing."""

import sys
from collections.abc import Callable

from dia.errors import MissingExtra
from dia.packages import EXTRAS, install_command, setup_command
from dia.server.checks import PACKAGES

__all__ = ["missing_extra", "run_script"]


def missing_extra(error: ModuleNotFoundError) -> MissingExtra | None:
    """The error for people behind a failed import, or None if it is no package of ours."""
    module = (error.name or "").split(".")[0]
    if module in PACKAGES:
        return MissingExtra(f"the package {module} is not installed; install it with: {setup_command(module)}")
    if any(module in modules for modules in EXTRAS.values()):
        return MissingExtra(f"the package {module} is not installed; install it with: {install_command(module)}")
    return None


def run_script(main: Callable[[], int]) -> int:
    """Run what a script at the repository's root starts; a missing package is one line with its cure."""
    try:
        return main()
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        print(f"error: {missing}", file=sys.stderr)
        return 1
