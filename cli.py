"""python cli.py "[S1] Hello. [S2] Hi!" --output out.wav"""

import sys

from dia.cli.speak import main

if __name__ == "__main__":
    sys.exit(main())
