"""Puts the repository on the path, so that a benchmark runs by its path: `python benchmarks/demo.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
