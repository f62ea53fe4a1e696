"""The layouts of the field's datasets, in the order in which they are tried: the narrower first.

What is none of them is read column by column, see `training.data.rows`.
"""

from __future__ import annotations

from collections.abc import Sequence

from training.data.formats.arena import ARENA, LMSYS
from training.data.formats.argilla import ARGILLA, ARGILLA_FLAT
from training.data.formats.choices import CHOSEN, LISTED, SEVERAL
from training.data.formats.helpsteer import HELPSTEER, HELPSTEER3
from training.data.formats.label_studio import LABEL_STUDIO, LABEL_STUDIO_MIN
from training.data.formats.layout import Layout, Record
from training.data.formats.nectar import NECTAR
from training.data.formats.openassistant import MESSAGES, TREES
from training.data.formats.safe_rlhf import ONLY_SAFER, SAFE_RLHF
from training.data.formats.shp import SHP
from training.data.formats.summaries import SUMMARIES
from training.data.formats.ultrafeedback import ULTRAFEEDBACK

LAYOUTS = (ULTRAFEEDBACK, HELPSTEER, HELPSTEER3, SAFE_RLHF, ONLY_SAFER, SHP, SUMMARIES, NECTAR, ARENA, LMSYS, TREES,
           MESSAGES, ARGILLA, ARGILLA_FLAT, LABEL_STUDIO, LABEL_STUDIO_MIN, CHOSEN, SEVERAL, LISTED)


def layout_of(columns: Sequence[str], first_rows: Sequence[Record]) -> Layout | None:
    """The first layout that fits these columns and records."""
    return next((layout for layout in LAYOUTS if layout.fits(columns, first_rows)), None)


def layout_named(kind: str) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.kind == kind), None)
