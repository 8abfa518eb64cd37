"""Run `python -m asr_lab.cli`."""

import sys

from asr_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
