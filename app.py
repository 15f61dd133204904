"""python app.py [--device cuda] [--share]"""

import sys

from dia.cli.ui import show_page

if __name__ == "__main__":
    sys.exit(show_page())
