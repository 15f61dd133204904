"""`python -m dia.bench`."""

from dia.bench.commands import app

if __name__ == "__main__":
    app()
