"""The values of a run by name, as the table of runs filters, sorts and groups by them.

They are derived: `values_of` computes them from the recipe and from what the stages reported, and `store_values` writes
them into rows of their own that the database can search. Nothing else writes those rows, so they can be made again at
any time. A name is

- a setting's path in the recipe (`ppo.kl.target`, `principles.toxicity.weight`);
- the tag of a series of the PPO stage, which is its last value (`kl/mean`), and `best.` with the tag: its highest
  value, or its lowest where the tag is of a loss;
- `win`, `win.low`, `win.high`, `win.pairs` and `win.PRINCIPLE` of the evaluation, `measured.NAME` and `score.NAME` for
  the change in a measure and in a preference model's score, `accuracy.PRINCIPLE` of a preference model;
- `duration` of a run that has ended, in seconds;
- `settings`, a digest of the recipe without its name, seed and repetition: equal for repetitions of one experiment.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from django.db import transaction
from django.db.models import Max, Min, Q

from webapp.runs.models import MetricChunk, Run, RunField, RunStage, RunValue

LONGEST_TEXT, LONGEST_NAME = 200, 300
NOT_SETTINGS = ("version", "name", "seed", "repeat")  # what repetitions of one experiment may differ in
REPORTED = ("evaluate", "preference_model")
SOURCES = ("ppo", *REPORTED)  # kinds of stages that give runs values
AT_ONCE = 100  # runs whose values are computed together

Value: TypeAlias = float | str
Values: TypeAlias = dict[str, Value]


class Tables(NamedTuple):
    """The models that are read and written: a migration gives those of its own time."""

    uses: Any = RunStage
    chunks: Any = MetricChunk
    fields: Any = RunField
    values: Any = RunValue


def store_values(runs: Sequence[Run], tables: Tables | None = None) -> None:
    """Write the values of some runs anew; the number of queries depends on the number of their teams only."""
    tables = tables or Tables()
    for start in range(0, len(runs), AT_ONCE):
        part = runs[start:start + AT_ONCE]
        values = values_of(part, tables)
        with transaction.atomic():
            fields = _fields(part, values, tables)
            tables.values.objects.filter(run__in=[run.pk for run in part]).delete()
            tables.values.objects.bulk_create([
                tables.values(run_id=run.pk, field_id=fields[run.team_id, name],
                              number=None if isinstance(value, str) else value,
                              text=value if isinstance(value, str) else "")
                for run in part for name, value in values[run.pk].items()], batch_size=2000, update_conflicts=True,
                unique_fields=["run", "field"], update_fields=["number", "text"])


def values_of(runs: Sequence[Run], tables: Tables | None = None) -> dict[int, Values]:
    """The values of each run by its key, by name; five queries."""
    tables = tables or Tables()
    keys = [run.pk for run in runs]
    ppo: dict[int, int] = {}
    reports: dict[int, list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)
    for run, stage in tables.uses.objects.filter(run__in=keys, stage__kind="ppo").values_list("run", "stage"):
        ppo[run] = stage
    for run, kind, principle, summary in tables.uses.objects.filter(
            run__in=keys, stage__kind__in=REPORTED).order_by("position").values_list(
            "run", "stage__kind", "stage__principle", "stage__summary"):
        reports[run].append((kind, principle, summary or {}))
    series = _series(set(ppo.values()), tables)
    return {run.pk: {name[:LONGEST_NAME]: value for name, value in (
        *recipe_values(run.recipe), *series.get(ppo.get(run.pk, 0), ()), *_reported(reports[run.pk]), *_times(run))
        if isinstance(value, str) or math.isfinite(value)} for run in runs}


def recipe_values(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    """Every setting that has a value, by its path."""
    for choice in recipe.get("principles", []):
        settings = {name: value for name, value in choice.items() if name != "name"}
        yield from _leaves(settings, f"principles.{choice.get('name', '')}.")
    yield from _leaves({name: value for name, value in recipe.items() if name not in ("principles", "name")}, "")
    shared = {name: value for name, value in recipe.items() if name not in NOT_SETTINGS}
    yield "settings", hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Value]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield f"{prefix}{name}", "on" if value else "off"
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)
        elif value not in (None, "", []):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{prefix}{name}", text[:LONGEST_TEXT]


def _series(stages: set[int], tables: Tables) -> dict[int, list[tuple[str, float]]]:
    """The last and the best value of each series. A chunk without a finite value has zeros for its bounds."""
    chunks = tables.chunks.objects.filter(stage__in=stages)
    last = [pk for *_, pk in chunks.values_list("stage", "tag").annotate(Max("pk"))]
    bounds = {(stage, tag): (low, high) for stage, tag, low, high in chunks.exclude(
        Q(minimum=0) & Q(maximum=0)).values_list("stage", "tag").annotate(Min("minimum"), Max("maximum"))}
    result: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for stage, tag, blob in tables.chunks.objects.filter(pk__in=last).values_list("stage", "tag", "values"):
        values = np.frombuffer(bytes(blob), "<f8")
        finite = values[np.isfinite(values)]
        candidates = [*bounds.get((stage, tag), ())]
        if len(finite):
            candidates += [float(finite.min()), float(finite.max())]
        if len(values):
            result[stage].append((tag, float(values[-1])))
        if candidates:
            result[stage].append((f"best.{tag}", (min if "loss" in tag.split("/") else max)(candidates)))
    return result


def _reported(reports: Sequence[tuple[str, str, Mapping[str, Any]]]) -> Iterator[tuple[str, float]]:
    for kind, principle, summary in reports:
        if kind == "preference_model":
            for name, card in (summary.get("cards") or {principle: summary}).items():
                yield from _number(f"accuracy.{name}", card.get("accuracy"))
            continue
        for name, rate in (summary.get("principles") or {}).items():
            yield from _number(f"win.{name}", rate.get("win_rate"))
        overall = summary.get("overall") or {}
        for name, key in (("win", "win_rate"), ("win.low", "low"), ("win.high", "high"), ("win.pairs", "n")):
            yield from _number(name, overall.get(key))
        for key, prefix in (("measures", "measured"), ("opinions", "score")):
            for name, means in (summary.get(key) or {}).items():
                yield from _number(f"{prefix}.{name}", (means.get("difference") or {}).get("mean"))


def _number(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float):
        yield name, float(value)


def _times(run: Run) -> Iterator[tuple[str, float]]:
    if run.finished_at is not None:
        yield "duration", (run.finished_at - run.created_at).total_seconds()


def _fields(runs: Sequence[Run], values: Mapping[int, Values], tables: Tables) -> dict[tuple[int, str], int]:
    """The key of each name of a team; new names get a row."""
    names: dict[int, set[str]] = defaultdict(set)
    for run in runs:
        names[run.team_id] |= set(values[run.pk])
    keys: dict[tuple[int, str], int] = {}
    for team, wanted in names.items():
        of_team = tables.fields.objects.filter(team_id=team)
        known = dict(of_team.values_list("name", "pk"))
        if missing := wanted - set(known):
            tables.fields.objects.bulk_create([tables.fields(team_id=team, name=name) for name in sorted(missing)],
                                              ignore_conflicts=True)
            known = dict(of_team.values_list("name", "pk"))
        keys |= {(team, name): known[name] for name in wanted}
    return keys
