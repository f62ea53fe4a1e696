"""Writes the inputs of stages from the database to files: datasets, labels already bought, corrected labels.

A stage never reads the database. The digest of what is written is part of its identity.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Case, QuerySet, When

from training import demo_world
from training.config import DEMO_WORLD, EVERYDAY_PROMPTS, JudgeSettings, Recipe
from training.data.data_files import check_aspects, check_files, check_references, files_from_rows, prepare
from training.data.rows import Row
from training.data.shipped import EVERYDAY_FILE, SYSTEM
from training.errors import BadData, BadSettings
from training.judges.identity import is_unplaced, judge_name
from training.judges.prompt import prompt_version
from training.run.artifacts import digest_of, file_digest, read_jsonl, write_jsonl
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset, DatasetText
from webapp.judges.identity import label_names
from webapp.labels.models import Label

_LABEL_FIELDS = ("probability", "p_shown", "p_swapped", "order_gap", "error", "tokens", "model", "judge",
                 "prompt_version")


# Data files -----------------------------------------------------------------------------------------------------------


def file_digests(recipe: Recipe, dataset: Dataset | None) -> dict[str, str]:
    """The digest of each data file by role, without writing one.

    Raises:
        BadSettings, BadData: the data cannot serve this recipe.
    """
    chosen = recipe.data.model_dump(mode="json")
    if dataset is None:
        if recipe.data.source == EVERYDAY_PROMPTS:
            _check_prompts_alone(recipe, "the everyday prompts have")
            return {role: digest_of([role, SYSTEM, file_digest(EVERYDAY_FILE), chosen["limit"], chosen["held_out"]])
                    for role in ("prompts", "held_out")}
        if recipe.data.source != DEMO_WORLD:
            raise BadSettings(f"'{recipe.data.source}' is not imported.",
                              "Import it under Datasets, then choose it here.")
        _check_prompts_alone(recipe, "the demo world has")
        world = _world_digest()
        return {role: digest_of([role, world, chosen["limit" if role == "prompts" else "held_out"], recipe.seed])
                for role in ("prompts", "held_out")}
    if dataset.status != Dataset.Status.READY:
        raise BadData(f"The dataset '{dataset.title}' is not ready: {dataset.get_status_display()}.",
                      "Wait until its import is done, or choose another dataset.")
    if recipe.sample.pairs == "dataset" and not dataset.has_pairs:
        raise BadData(f"The dataset '{dataset.title}' has no pairs of responses.",
                      "Choose other data, or set 'sample.pairs' to 'sampled'.")
    if recipe.sft.enabled and dataset.kind in (Dataset.Kind.PROMPTS, Dataset.Kind.UNDECIDED):
        raise BadData(f"The dataset '{dataset.title}' has no responses to fine-tune on.",
                      "Choose other data, or switch 'sft' off.")
    if recipe.weights.mode == "fitted" and dataset.kind == Dataset.Kind.UNDECIDED:
        raise BadData(f"'weights.mode' is fitted, and nobody chose between the responses of '{dataset.title}'.",
                      "Choose data with chosen and rejected responses, or set the weights.")
    cut = {key: chosen[key] for key in ("limit", "held_out")}
    digests = {role: digest_of([role, dataset.digest, cut]) for role in ("prompts", "held_out", "pairs", "dialogues")}
    if recipe.rated:
        check_aspects(recipe, dataset.aspects)
        digests["ratings"] = digest_of(["ratings", dataset.digest, dataset.ratings_digest, cut])
    if recipe.referenced:
        check_references(recipe, dataset.references, dataset.rows_good, "rows")
        digests["references"] = digest_of(["references", dataset.digest, dataset.references_digest, cut])
    return digests


def _check_prompts_alone(recipe: Recipe, subject: str) -> None:
    """Raise BadData if the recipe asks more of its data than prompts."""
    if recipe.sft.enabled:
        raise BadData(f"'sft.enabled' is set, and {subject} only prompts, no responses to fine-tune on.",
                      "Choose other data, or switch 'sft' off.")
    if recipe.sample.pairs == "dataset":
        raise BadData(f"'sample.pairs' is dataset, and {subject} only prompts, no pairs of responses.",
                      "Choose other data, or set 'sample.pairs' to 'sampled'.")
    if recipe.referenced:
        raise BadData(f"The measure of {', '.join(recipe.referenced)} has 'answer_from: data', and {subject} only "
                      "prompts, no reference answers.",
                      "Choose data with them, or give the measure one answer for all prompts.")


@cache
def _world_digest() -> str:
    folder = Path(demo_world.__file__).parent
    return digest_of([file_digest(folder / name) for name in ("world.py", "language.py")])


def data_files(*, team: Team, recipe: Recipe, dataset: Dataset | None,
               digests: Mapping[str, str]) -> dict[str, Path]:
    """The data files of a run by role. They are written once and shared by every stage that reads the same data."""
    folder = settings.ARTIFACTS / str(team.pk) / "data" / digest_of(dict(digests))[:32]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
        try:
            if dataset is None:
                prepare(recipe, aside)
            else:
                files = files_from_rows(dataset_rows(dataset), recipe.data, aside)
                check_files(recipe, files)
            with contextlib.suppress(OSError):  # another stage may have written the same files first
                os.replace(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return {path.stem: path for path in sorted(folder.glob("*.jsonl"))}


def dataset_rows(dataset: Dataset) -> Iterator[Row]:
    texts = DatasetText.objects.filter(row__dataset=dataset).order_by("row__number")
    columns = texts.values_list("prompt", "chosen", "rejected", "undecided", "row__rated__ratings", "reference")
    for prompt, chosen, rejected, undecided, ratings, reference in columns.iterator(chunk_size=2000):
        yield Row.of_json([prompt, chosen or None, rejected or None, undecided, ratings, reference or None])


# Labels ---------------------------------------------------------------------------------------------------------------


def labels_of(*, team: Team, principle: str, statement: str, judge: Mapping[str, Any]) -> QuerySet[Label]:
    """The team's labels by one judge, under all of its names, for one wording of a principle."""
    chosen = JudgeSettings.model_validate(judge)
    return _worded(team, principle, statement, chosen).filter(judge__in=label_names(team_id=team.pk, judge=chosen))


def _worded(team: Team, principle: str, statement: str, judge: JudgeSettings) -> QuerySet[Label]:
    return Label.objects.filter(
        team=team, principle_version__principle__name=principle, principle_version__statement=statement,
        prompt_version=prompt_version(judge))


def write_known_labels(path: Path, *, team: Team, stage_settings: Mapping[str, Any],
                       siblings: Mapping[str, str] | None = None) -> int:
    """Write the labels already bought from the stage's judge, in the stage's own format. Returns how many.

    None of a measure that compares with the reference answers of the data: these may have changed, and measuring costs
    nothing. If a pair has two labels, from before and after its judge moved, the one from the stage's own address comes
    first.

    Args:
        siblings: wordings by name of the principles that the stage asks about beside its own. Their errors are written
            too: a sibling's own stage asks again, and this one does not.
    """
    chosen = JudgeSettings.model_validate(stage_settings["judge"])
    if chosen.measure is not None and chosen.measure.needs_reference:
        return 0
    own = labels_of(team=team, principle=stage_settings["principle"], statement=stage_settings["statement"],
                    judge=stage_settings["judge"]).filter(probability__isnull=False)
    labels = {stage_settings["principle"]: own} | {
        name: labels_of(team=team, principle=name, statement=statement, judge=stage_settings["judge"])
        for name, statement in (siblings or {}).items()}
    count = sum(known.count() for known in labels.values())
    if count:
        own_judge = judge_name(chosen)
        write_jsonl(path, (row for name, known in labels.items() for row in _label_rows(name, known, own_judge)))
    return count


def _label_rows(principle: str, labels: QuerySet[Label], own_judge: str) -> Iterator[dict[str, Any]]:
    elsewhere = Case(When(judge=own_judge, then=0), default=1)
    rows = labels.order_by(elsewhere, "pk").values_list("pair__digest", *_LABEL_FIELDS).iterator(chunk_size=5000)
    return ({"pair": digest, "principle": principle, **dict(zip(_LABEL_FIELDS, values, strict=True))}
            for digest, *values in rows)


def corrections_of(*, team: Team, label_settings: Mapping[str, Any], labels: Path) -> dict[str, float | None]:
    """People's corrections of a label stage's labels.jsonl: by pair, a probability, or None if rejected."""
    if not labels.is_file():
        return {}
    judge = JudgeSettings.model_validate(label_settings["judge"])
    names = label_names(team_id=team.pk, judge=judge)
    worded = _worded(team, label_settings["principle"], label_settings["statement"], judge)
    changed = worded.filter(review__in=[Label.Review.OVERRIDDEN, Label.Review.REJECTED]).select_related("pair")
    by_judge: dict[str, dict[str, float | None]] = {}
    for label in changed:
        by_judge.setdefault(label.pair.digest, {})[label.judge] = label.effective_probability
    if not by_judge:
        return {}
    corrections: dict[str, float | None] = {}
    for row in read_jsonl(labels):
        decisions = by_judge.get(row["pair"], {})
        candidates = [row["judge"], *names]
        if is_unplaced(row["judge"]):  # written before servers were noted; the label was given its server since
            candidates += [name for name in decisions if name.startswith(f"{row['judge']}@")]
        if decided := [name for name in candidates if name in decisions]:
            corrections[row["pair"]] = decisions[decided[0]]
    return corrections


def corrections_digest(corrections: Mapping[str, float | None]) -> str:
    """The digest of corrections that enters the identity of a preference model; "" if there are none."""
    return digest_of(sorted(corrections.items())) if corrections else ""


def corrected(rows: Iterable[dict[str, Any]], corrections: Mapping[str, float | None]) -> Iterator[dict[str, Any]]:
    """Rows of labels.jsonl with people's corrections applied; rejected labels are left out."""
    for row in rows:
        if row["pair"] not in corrections:
            yield row
        elif (probability := corrections[row["pair"]]) is not None:
            yield row | {"probability": probability, "error": "", "corrected": True}
