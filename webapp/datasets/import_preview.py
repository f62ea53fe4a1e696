"""Previews the first rows of an uploaded file with a choice of columns, before anything is imported.

The file is read in a separate process (`training.data.reader_process`), so that it cannot fill or block the web.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.data.ratings import COLUMN
from training.data.reader_process import preview_in_subprocess
from training.data.reference import ROLE
from training.data.rows import PROMPT_PARTS, BadRow, Format, Row
from training.errors import BadData, TrainingError
from webapp.datasets import services
from webapp.datasets.forms import ROLES, ColumnsForm
from webapp.datasets.models import Dataset

NAMED_UNUSED = 30  # columns that the page names
logger = logging.getLogger("concord.datasets")


@dataclass
class ImportPreview:
    """`mapping` is set if the file, or the hub's dataset, can be imported; else `problem` says why not."""

    form: ColumnsForm | None = None
    mapping: dict[str, str] | None = None
    recognised: Format | None = None
    columns: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    rows: list[tuple[int, Row | BadRow, bool]] = field(default_factory=list)
    problem: TrainingError | None = None

    @property
    def bad(self) -> int:
        return sum(not good for _, _, good in self.rows)

    @property
    def is_whole_layout(self) -> bool:
        """The file is of a known layout, which says by itself what its columns are: there is nothing to choose."""
        return self.recognised is not None and not self.recognised.columns and self.problem is None

    @property
    def used(self) -> list[tuple[str, str]]:
        """Each column that is read, with its role in words where the format gives it one."""
        if self.recognised and not self.recognised.columns:
            return [("", column) for column in self.recognised.reads(self.columns)[:NAMED_UNUSED]]
        columns = self.recognised.columns if self.recognised else {}
        ratings = [("Ratings", COLUMN)] if self.recognised and self.recognised.rated else []
        return [(label, columns[role]) for role, label in ROLES if role in columns] + ratings

    @property
    def more_unused(self) -> int:
        return max(0, len(self.unused) - NAMED_UNUSED)


def preview_import(dataset: Dataset, chosen: Mapping[str, str]) -> ImportPreview:
    """Read the first rows: with the chosen columns, else with those of the dataset, else as recognised."""
    path = services.source_path(dataset)
    mapping = chosen or dataset.columns
    if path is None:
        form = ColumnsForm(mapping)
        return ImportPreview(form, form.mapping if form.is_valid() else None)
    if not path.is_file():
        return ImportPreview(problem=BadData("The uploaded file no longer exists.",
                                             "Discard this dataset and upload the file again."))
    names = {role: str(mapping[role]) for role, _ in ROLES if mapping.get(role)}
    not_used = {role: "" for role in (*PROMPT_PARTS, ROLE) if mapping.get(role) == ""}
    try:
        first_rows = preview_in_subprocess(path, dataset.filename, names | not_used)
    except Exception:
        logger.exception("The file of dataset %s could not be previewed", dataset.pk)
        return ImportPreview(problem=BadData("The file could not be previewed because of an unexpected error; the "
                                             "server's log has it.",
                                             "Discard it and save it in another format, or report it."))
    preview = ImportPreview(problem=first_rows.problem, recognised=first_rows.format)
    preview.rows = [(number, row, isinstance(row, Row)) for number, row in enumerate(first_rows.rows, 1)]
    preview.columns = first_rows.columns
    if first_rows.columns:
        columns = first_rows.format.columns if first_rows.format else {}
        initial = {role: name for role, name in (columns or names).items() if name in first_rows.columns}
        preview.form = ColumnsForm(initial=initial, columns=first_rows.columns)
    if first_rows.format and not first_rows.problem:
        preview.mapping = dict(first_rows.format.columns) | not_used
        preview.unused = first_rows.unused
    return preview
