"""python app.py [--device cuda] [--share]"""

import sys

from dia.ui.launch import main

if __name__ == "__main__":
    sys.exit(main())
