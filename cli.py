"""python cli.py "[S1] Hello. [S2] Hi!" --output out.wav"""

import sys

from dia.cli.extras import run_script


def speak() -> int:
    from dia.cli.speak import main

    return main()


if __name__ == "__main__":
    sys.exit(run_script(speak))
