"""SHP (arXiv 2110.08420): a post and two comments under it, of which one was voted higher."""

from __future__ import annotations

from collections.abc import Iterator

from training.data.formats.comparison import pair_of
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.values import number_at, text_at
from training.data.messages import UnusableRow, checked_prompt


def _rows(record: Record) -> Iterator[Made]:
    label = number_at(record, "labels")
    if label not in (0, 1):
        raise UnusableRow(f"'labels' is {str(record.get('labels'))[:50]!r}, not 1 (A is better) or 0 (B is better)")
    prompt = checked_prompt([{"role": "user", "content": text_at(record, "history").strip()}])
    yield pair_of(prompt, text_at(record, "human_ref_A"), text_at(record, "human_ref_B"), "a" if label == 1 else "b")


SHP = Layout("shp", "posts with two comments, one voted higher (SHP)",
             ("history", "human_ref_A", "human_ref_B", "labels"), each(_rows))
