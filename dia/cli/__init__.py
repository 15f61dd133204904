"""The command line: `dia` with its sub-commands, and `python cli.py`. Imports nothing heavy until a command runs.

root      the `dia` command and the table of its sub-commands
speak     what to say, with which voice, into which file: the flags of `dia say` and `python cli.py`
run       one entry for every command: errors become one line and an exit code
"""

__all__ = ["root", "run", "speak"]
