"""Lines of CSV files, of which no cell is a formula to a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute a cell that begins so


def csv_line(cells: Sequence[Any]) -> bytes:
    """One line; a text that begins as a formula gets an apostrophe before it."""
    file = io.StringIO()
    csv.writer(file).writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
                               for cell in cells])
    return file.getvalue().encode()
