"""python cli.py "[S1] Hello. [S2] Hi!" --output out.wav"""

import sys
from importlib import import_module

from dia.cli.extras import run_script

if __name__ == "__main__":
    sys.exit(run_script(lambda: import_module("dia.cli.speak").main()))
