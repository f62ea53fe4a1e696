"""Records pairs and labels in the database, so that no label is bought twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from django.db.models import F
from django.db.models.expressions import CombinedExpression

from training.config import JudgeSettings
from training.dialogue import last_user_message
from training.judges.identity import is_unplaced, judge_name
from training.judges.pair_index import PairIndex
from training.run.artifacts import read_jsonl
from training.run.events import LabelBody, SiblingLabelBody
from training.text import storable
from webapp.datasets.models import Dataset
from webapp.labels.models import Label, Pair, PairText, PairWords
from webapp.labels.pair_search import words_of
from webapp.principles.measures import as_stored, read_measure
from webapp.principles.models import Principle, PrincipleVersion
from webapp.runs.models import Run, Stage
from workers.inserting import insert_new

_BATCH = 500
_JUDGED = ["model", "probability", "p_shown", "p_swapped", "order_gap", "confidence", "order_flip", "error", "tokens"]


class _StoredLabel(NamedTuple):
    """A stored label: its row, and whether a later answer may replace it."""

    pk: int
    is_open: bool


class LabelRecorder:
    """Records the label events of one stage, its own and its siblings', in a constant number of queries per batch and
    principle."""

    def __init__(self, stage: Stage, pairs: Path | None) -> None:
        self._stage = stage
        self._pairs = pairs
        self._index: PairIndex | None = None
        self._versions: dict[tuple[str, str], PrincipleVersion] = {}
        self._dataset = dataset_of(stage)
        measure = stage.settings.get("judge", {}).get("measure") or {}
        self._is_by_references = measure.get("answer_from") == "data"

    def record(self, events: Sequence[LabelBody]) -> None:
        """Insert new labels. A stored error is replaced, and so is what was measured by reference answers, which may
        have changed; any other stored label stays as it was bought."""
        settings = self._stage.settings
        measure = settings.get("judge", {}).get("measure")
        version = self._version(settings["principle"], settings["statement"],
                                as_stored(read_measure(measure)) if measure else None)
        self._record(events, version)

    def record_siblings(self, events: Sequence[SiblingLabelBody]) -> None:
        """The same for labels of other principles, each under the wording that it was asked about."""
        by_wording: dict[tuple[str, str], list[LabelBody]] = {}
        for event in filter(itemgetter("principle"), events):
            by_wording.setdefault((event["principle"], event["statement"]), []).append(event)
        for wording, labels in sorted(by_wording.items()):
            self._record(labels, self._version(*wording))

    def _record(self, events: Sequence[LabelBody], version: PrincipleVersion) -> None:
        latest = {event["pair"]: event for event in events}
        pairs = self._pair_ids(list(latest))
        stored = self._stored_labels(list(pairs.values()), version)
        fresh, mended = [], []
        for digest, event in latest.items():
            if digest not in pairs:
                continue
            before = stored.get((pairs[digest], self._judge_of(event), event["prompt_version"]))
            if before is None:
                fresh.append(self._columns(event, pairs[digest], version))
            elif before.is_open and event["probability"] is not None:
                mended.append(Label(pk=before.pk, **self._columns(event, pairs[digest], version)))
        insert_new(Label, fresh)
        if mended:
            Label.objects.bulk_update(mended, _JUDGED, batch_size=_BATCH)

    def _version(self, principle: str, statement: str, measure: dict[str, Any] | None = None) -> PrincipleVersion:
        if (principle, statement) not in self._versions:
            self._versions[principle, statement] = principle_version(self._stage.team_id, principle, statement, measure)
        return self._versions[principle, statement]

    def _stored_labels(self, pairs: list[int], wording: PrincipleVersion) -> dict[tuple[int, str, str], _StoredLabel]:
        """The stored labels of these pairs, without their full rows."""
        stored: dict[tuple[int, str, str], _StoredLabel] = {}
        for start in range(0, len(pairs), _BATCH):
            labels = Label.objects.alias(version=_unindexed("principle_version_id")).filter(
                version=wording.pk, pair__in=pairs[start: start + _BATCH]).order_by()
            for pk, pair, judge, version, probability in labels.values_list("pk", "pair_id", "judge", "prompt_version",
                                                                          "probability"):
                stored[pair, judge, version] = _StoredLabel(pk, probability is None or self._is_by_references)
        return stored

    def _columns(self, event: LabelBody, pair: int, version: PrincipleVersion) -> dict[str, Any]:
        probability, shown, swapped = event["probability"], event["p_shown"], event["p_swapped"]
        gap, flip = None, False
        if shown is not None and swapped is not None:
            gap, flip = abs(shown - swapped), (shown - 0.5) * (swapped - 0.5) < 0
        return {
            "team_id": self._stage.team_id, "pair_id": pair, "principle_version_id": version.pk,
            "judge": self._judge_of(event), "prompt_version": storable(event["prompt_version"])[:20],
            "model": storable(event["model"])[:200], "probability": probability, "p_shown": shown,
            "p_swapped": swapped, "order_gap": gap,
            "confidence": None if probability is None else abs(2 * probability - 1), "order_flip": flip,
            "error": storable(event["error"])[:500], "tokens": event["tokens"]}

    def _judge_of(self, event: LabelBody) -> str:
        """The judge of a label. A label written before servers were recorded belongs to the stage's judge."""
        name = event["judge"]
        if is_unplaced(name) and "judge" in self._stage.settings:
            name = judge_name(JudgeSettings.model_validate(self._stage.settings["judge"]))
        return storable(name)[:300]

    def _pair_ids(self, digests: list[str]) -> dict[str, int]:
        """Ids of pairs. Not cached between batches: a pair comes once per stage, and there may be a million."""
        ids = _ids(self._stage.team_id, digests)
        unknown = [digest for digest in digests if digest not in ids]
        if unknown and self._pairs is not None:
            if self._index is None:
                self._index = PairIndex(self._pairs)
            ids |= record_pairs(team_id=self._stage.team_id, dataset=self._dataset,
                                  rows=self._index.rows_of(unknown))
        return ids


def record_pairs_file(stage: Stage, path: Path) -> None:
    """Record the pairs that a sample stage made, so that pages can show them."""
    rows = read_jsonl(path)
    dataset = dataset_of(stage)
    while part := list(islice(rows, _BATCH)):
        record_pairs(team_id=stage.team_id, dataset=dataset, rows=part)


def record_pairs(*, team_id: int, dataset: Dataset | None, rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Insert new pairs and their texts, and return all ids by digest. Inserts are ordered by digest, so that two
    writers cannot deadlock."""
    by_digest = {row["digest"]: row for row in sorted(rows, key=lambda row: str(row["digest"]))}
    if not by_digest:
        return {}
    insert_new(Pair, ({"team_id": team_id, "digest": digest, "dataset_id": dataset.pk if dataset else None,
                       "human": row.get("human"), "excerpt": storable(last_user_message(row["prompt"])[:120])}
                      for digest, row in by_digest.items()))
    ids = _ids(team_id, list(by_digest))
    insert_new(PairText, ({"pair_id": ids[digest], "prompt": _storable_prompt(row["prompt"]),
                           "response_a": storable(row["a"]), "response_b": storable(row["b"])}
                          for digest, row in by_digest.items()))
    insert_new(PairWords, ({"pair_id": ids[digest], "words": words_of(row["prompt"], row["a"], row["b"])}
                           for digest, row in by_digest.items()))
    return ids


def _storable_prompt(prompt: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [{key: storable(text) for key, text in message.items()} for message in prompt]


def dataset_of(stage: Stage) -> Dataset | None:
    run = Run.objects.filter(uses__stage=stage).select_related("dataset").order_by("-id").first()
    return run.dataset if run is not None else None


def principle_version(team_id: int, name: str, statement: str,
                      measure: dict[str, Any] | None = None) -> PrincipleVersion:
    """The team's version with this wording; one that came with a recipe's YAML becomes a new version, with its measure
    where it is measured.

    Two recorders that meet a new wording at once wait for each other at the principle's row.
    """
    versions = PrincipleVersion.objects.filter(principle__team=team_id, principle__name=name, statement=statement)
    if version := versions.order_by("number").first():
        return version
    principle, _ = Principle.objects.get_or_create(team_id=team_id, name=name)
    Principle.objects.select_for_update().get(pk=principle.pk)
    if version := versions.order_by("number").first():
        return version
    newest = principle.versions.order_by("-number").first()
    return PrincipleVersion.objects.create(principle=principle, statement=statement, measure=measure,
                                           number=newest.number + 1 if newest else 1)


def _unindexed(column: str) -> CombinedExpression:
    """A column expression that no index matches. Without statistics SQLite would choose the index of the team or of the
    wording and read all their rows, instead of the index of the few hundred pairs."""
    return F(column) + 0


def _ids(team_id: int, digests: list[str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for start in range(0, len(digests), _BATCH):  # SQLite limits the number of parameters
        part = Pair.objects.alias(owner=_unindexed("team_id")).filter(
            owner=team_id, digest__in=digests[start: start + _BATCH]).order_by()
        ids |= dict(part.values_list("digest", "pk"))
    return ids
