"""What an uploaded file looks like through a choice of columns, before anything is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.data import BadRow, Format, Row, preview
from training.errors import BadData, TrainingError
from webapp.datasets import services
from webapp.datasets.forms import ColumnsForm
from webapp.datasets.models import Dataset


@dataclass
class Look:
    """`mapping` is there if the file, or the hub's data set, can be imported with it; else `problem` says why not."""

    form: ColumnsForm | None = None
    mapping: dict[str, str] | None = None
    recognised: Format | None = None
    rows: list[tuple[int, Row | BadRow, bool]] = field(default_factory=list)
    problem: TrainingError | None = None

    @property
    def bad(self) -> int:
        return sum(not good for _, _, good in self.rows)


def look_at(dataset: Dataset, given: Mapping[str, str]) -> Look:
    """The first rows, read with the columns given, else with those of the data set, else as recognised."""
    path = services.source_path(dataset)
    if path is None:
        form = ColumnsForm(given or dataset.columns)
        return Look(form, form.mapping if form.is_valid() else None)
    columns: list[str] = []
    try:
        columns = services.columns_of(path, dataset.filename)
        form = ColumnsForm(given or dataset.columns, columns=columns)
        if not form.is_valid():
            raise BadData("The file has no such column.", f"It has: {', '.join(columns)}.")
        recognised, _, rows = preview(path, dataset.filename, form.mapping)
    except BadData as problem:
        return Look(ColumnsForm(given or dataset.columns, columns=columns) if columns else None, problem=problem)
    except OSError:
        return Look(problem=BadData("The uploaded file is no longer there.", "Discard this and upload it again."))
    shown = ColumnsForm(initial=recognised.columns, columns=columns)
    found = [(number, row, isinstance(row, Row)) for number, row in enumerate(rows, 1)]
    return Look(shown, dict(recognised.columns), recognised, found)
