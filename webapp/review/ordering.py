"""Where to look first: the order in which labels are dealt. Only keys are read, eight bytes per label.

| order        | by                                                                                                |
| ------------ | ------------------------------------------------------------------------------------------------- |
| disagreement | abs(p_judge - p_model), largest first; p_model = sigmoid(r_A - r_B), the preference model's scores |
| flips        | abs(p_shown - p_swapped), largest first                                                           |
| middle       | abs(p_judge - 0.5), smallest first                                                                |
| random       | a permutation drawn with the seed                                                                 |

Labels without the number come last. Equal ones keep the order in which they were bought.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from django.db.models import F, QuerySet

from training.errors import TrainingError
from training.quality.quality_card import card_of, scores_of
from webapp.accounts.models import Team
from webapp.labels.models import Label
from webapp.principles.models import PrincipleVersion
from webapp.review.models import ReviewAssignment
from webapp.runs.models import Stage

Order = ReviewAssignment.Order
_AT_ONCE = 5000
FORMULAS = {
    Order.DISAGREEMENT: "|p(judge) − p(model)|, largest first. p(model) = 1 / (1 + exp(r_B − r_A)) with the scores r "
                        "of the principle’s newest preference model. Labels that it has not scored come last.",
    Order.FLIPS: "|p(A, A shown first) − p(A, B shown first)|, largest first.",
    Order.MIDDLE: "|p(judge) − 0.5|, smallest first.",
    Order.RANDOM: "Every label is as likely as any other. Choose it to estimate how good all labels are.",
}


def keys_in_order(labels: QuerySet[Label], order: str, team: Team, seed: int, most: int) -> np.ndarray:
    """The keys of at most `most` labels, the one to look at first first: int64 [labels]."""
    labels = labels.order_by()
    if order == Order.FLIPS:
        return _keys(labels.order_by(F("order_gap").desc(nulls_last=True), "pk")[:most])
    if order == Order.MIDDLE:  # the confidence is |2p - 1|, which is twice the distance
        return _least_sure(labels, most)
    if order == Order.RANDOM:
        return np.random.default_rng(seed).permutation(_keys(labels.order_by("pk")))[:most]
    return _by_disagreement(labels, team, most)


def _least_sure(labels: QuerySet[Label], most: int) -> np.ndarray:
    """Labels without a confidence by a query of their own: the index has the others in order, so that the first of a
    million are found without reading all."""
    keys = _keys(labels.filter(confidence__isnull=False).order_by("confidence", "pk")[:most])
    missing = most - len(keys)
    return np.concatenate([keys, _keys(labels.filter(confidence=None).order_by("pk")[:missing])]) if missing else keys


def _keys(labels: QuerySet[Label]) -> np.ndarray:
    return np.fromiter(labels.values_list("pk", flat=True).iterator(chunk_size=_AT_ONCE), dtype=np.int64)


def _by_disagreement(labels: QuerySet[Label], team: Team, most: int) -> np.ndarray:
    """The labels of principles without a preference model are not read, but for those that come at the end."""
    scored_versions: list[int] = []
    keys, distances = [], []
    for principle, versions in _versions_by_principle(team).items():
        expected = model_probabilities(team, principle)
        if not expected:
            continue
        scored_versions += versions
        rows = labels.filter(principle_version__in=versions).values_list("pk", "probability", "pair__digest")
        for pk, probability, digest in rows.iterator(chunk_size=_AT_ONCE):
            model = expected.get(digest)
            keys.append(pk)
            distances.append(-1.0 if model is None or probability is None else abs(probability - model))
    others = _keys(labels.exclude(principle_version__in=scored_versions).order_by("pk")[:most])
    in_doubt = np.concatenate([np.array(distances), np.full(len(others), -1.0)])
    every_key = np.concatenate([np.array(keys, dtype=np.int64), others])
    return every_key[np.lexsort((every_key, -in_doubt))][:most]


def _versions_by_principle(team: Team) -> dict[str, list[int]]:
    """Keys of the team's wordings by the name of their principle."""
    versions: dict[str, list[int]] = {}
    rows = PrincipleVersion.objects.filter(principle__team=team).values_list("principle__name", "pk")
    for name, pk in rows.order_by("principle__name", "pk"):
        versions.setdefault(name, []).append(pk)
    return versions


def model_probabilities(team: Team, principle: str) -> dict[str, float]:
    """P(A is better) of the principle's newest preference model, by the digest of each pair it has scored; empty
    where there is no model, or its files are gone."""
    stage = _newest_model(team, principle)
    if stage is None:
        return {}
    try:
        spread = float(card_of(stage.folder, principle)["std"])
        return {row["pair"]: _sigmoid((row["z_a"] - row["z_b"]) * spread) for row in scores_of(stage.folder, principle)}
    except (TrainingError, OSError, KeyError):
        return {}


def _newest_model(team: Team, principle: str) -> Stage | None:
    done = Stage.objects.of(team).filter(kind="preference_model", status=Stage.Status.SUCCEEDED).order_by("-pk")
    own = done.filter(principle=principle).first()
    if own is not None:
        return own
    shared: Iterator[Stage] = done.filter(principle="")[:50].iterator()
    return next((stage for stage in shared if principle in stage.settings.get("principles", {})), None)


def _sigmoid(difference: float) -> float:
    return 1 / (1 + math.exp(-min(max(difference, -700.0), 700.0)))
