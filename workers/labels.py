"""Pairs and labels into the database: a label is there before the next one is paid for, and is never bought twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from training.artifacts import read_jsonl
from training.dialogue import last_user_message
from webapp.datasets.models import Dataset
from webapp.labels.models import Label, Pair, PairText
from webapp.principles.models import Principle, PrincipleVersion
from webapp.runs.models import Run, Stage

_BATCH = 500
_JUDGED = ["model", "probability", "p_shown", "p_swapped", "order_gap", "confidence", "order_flip", "error", "tokens"]


class LabelRecorder:
    """Records the label events of one stage."""

    def __init__(self, stage: Stage, pairs: Path | None) -> None:
        self._stage = stage
        self._pairs = pairs
        self._places: dict[str, int] | None = None
        self._version: PrincipleVersion | None = None
        self._known: dict[str, int] = {}
        self._dataset = dataset_of(stage)

    def record(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Insert what is new; a label that was an error before is replaced, any other stays as it was bought."""
        latest = {event["pair"]: event for event in events}
        pairs = self._pair_ids(list(latest))
        labels = {digest: self._label(event, pairs[digest]) for digest, event in latest.items() if digest in pairs}
        there = Label.objects.filter(pair__in=pairs.values(), principle_version=self.version)
        held = {(label.pair_id, label.judge, label.prompt_version): label for label in there}
        fresh, mended = [], []
        for label in labels.values():
            before = held.get((label.pair_id, label.judge, label.prompt_version))
            if before is None:
                fresh.append(label)
            elif before.probability is None and label.probability is not None:
                label.pk = before.pk
                mended.append(label)
        Label.objects.bulk_create(fresh, ignore_conflicts=True)
        if mended:
            Label.objects.bulk_update(mended, _JUDGED)

    @property
    def version(self) -> PrincipleVersion:
        if self._version is None:
            self._version = principle_version(self._stage)
        return self._version

    def _label(self, event: Mapping[str, Any], pair: int) -> Label:
        probability, shown, swapped = event["probability"], event["p_shown"], event["p_swapped"]
        both = shown is not None and swapped is not None
        return Label(
            team_id=self._stage.team_id, pair_id=pair, principle_version=self.version, judge=event["judge"][:300],
            prompt_version=event["prompt_version"], model=event.get("model", "")[:200], probability=probability,
            p_shown=shown, p_swapped=swapped, order_gap=abs(shown - swapped) if both else None,
            confidence=None if probability is None else abs(2 * probability - 1),
            order_flip=both and (shown - 0.5) * (swapped - 0.5) < 0, error=event["error"][:500],
            tokens=event["tokens"])

    def _pair_ids(self, digests: list[str]) -> dict[str, int]:
        missing = [digest for digest in digests if digest not in self._known]
        if missing:
            self._known |= _ids(self._stage.team_id, missing)
            unknown = [digest for digest in missing if digest not in self._known]
            record_pairs(team_id=self._stage.team_id, dataset=self._dataset, rows=self._rows(unknown))
            self._known |= _ids(self._stage.team_id, unknown)
        return {digest: self._known[digest] for digest in digests if digest in self._known}

    def _rows(self, digests: list[str]) -> Iterator[dict[str, Any]]:
        """The pairs of the stage's input by digest; the file may be large, so places are kept and not texts."""
        if self._pairs is None or not digests:
            return
        with self._pairs.open("rb") as file:
            if self._places is None:
                self._places = {}
                while line := file.readline():
                    self._places[json.loads(line)["digest"]] = file.tell() - len(line)
            for digest in digests:
                if digest in self._places:
                    file.seek(self._places[digest])
                    yield json.loads(file.readline())


def record_pairs_file(stage: Stage, path: Path) -> None:
    """The pairs that a sample stage made, for people to look at."""
    rows = read_jsonl(path)
    dataset = dataset_of(stage)
    while part := list(islice(rows, _BATCH)):
        record_pairs(team_id=stage.team_id, dataset=dataset, rows=part)


def record_pairs(*, team_id: int, dataset: Dataset | None, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert pairs and their texts; those that are there stay. In order of digest, so that no two writers deadlock."""
    by_digest = {row["digest"]: row for row in sorted(rows, key=lambda row: str(row["digest"]))}
    if not by_digest:
        return
    Pair.objects.bulk_create(
        [Pair(team_id=team_id, digest=digest, dataset=dataset, human=row.get("human"),
              excerpt=without_nul(last_user_message(row["prompt"])[:120]))
         for digest, row in by_digest.items()], ignore_conflicts=True)
    ids = _ids(team_id, list(by_digest))
    PairText.objects.bulk_create(
        [PairText(pair_id=ids[digest], prompt=row["prompt"], response_a=without_nul(row["a"]),
                  response_b=without_nul(row["b"]))
         for digest, row in by_digest.items()], ignore_conflicts=True)


def dataset_of(stage: Stage) -> Dataset | None:
    run = Run.objects.filter(uses__stage=stage).select_related("dataset").order_by("-id").first()
    return run.dataset if run is not None else None


def principle_version(stage: Stage) -> PrincipleVersion:
    """The team's version with the stage's wording; a wording that came with a recipe's YAML becomes a new version."""
    name, statement = stage.settings["principle"], stage.settings["statement"]
    found = PrincipleVersion.objects.filter(principle__team=stage.team_id, principle__name=name, statement=statement)
    if version := found.order_by("number").first():
        return version
    principle, _ = Principle.objects.get_or_create(team_id=stage.team_id, name=name)
    newest = principle.versions.order_by("-number").first()
    return PrincipleVersion.objects.create(principle=principle, statement=statement,
                                           number=newest.number + 1 if newest else 1)


def without_nul(text: str) -> str:
    """PostgreSQL takes no NUL in a text."""
    return text.replace("\x00", "�")


def _ids(team_id: int, digests: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(digests), _BATCH):  # SQLite bounds the number of parameters
        part = Pair.objects.filter(team=team_id, digest__in=digests[start: start + _BATCH])
        found |= dict(part.values_list("digest", "pk"))
    return found
