"""The choices that ratings of datasets make between the A and B of pairs, and the agreement of judges with them.

They are worked out where they are shown, from the ratings as they were imported and what the team says they are about
(`rating_uses`): there is no second copy to keep in step. They are people's, but never an annotator's: a line of their
own names the dataset, and a pair on which somebody of the team decided counts for that decision alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from django.db.models import OuterRef, QuerySet, Subquery

from training.data.ratings import probability_of
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset, RowRatings
from webapp.labels.agreement import Agreement
from webapp.labels.answers import Answers, PairIds, agreement, ids
from webapp.labels.label_quality import Between, asked_title
from webapp.labels.models import AspectUse, Label, Pair
from webapp.principles.models import Principle


@dataclass(frozen=True)
class RatedPairs:
    """The pairs of one dataset, all its versions together, that its ratings choose between on one principle."""

    principle: int
    source: str
    says_a: np.ndarray  # ids of pairs, ascending; ties are in neither
    says_b: np.ndarray


def rated_pairs(team: Team) -> list[RatedPairs]:
    """Of all datasets of the team whose ratings are used. Three queries; one where no dataset is rated.

    Where several versions of a dataset rate a pair, the newest counts.
    """
    columns = ("name", "version", "family")
    datasets = list(Dataset.objects.of(team).exclude(ratings_digest="").filter(status=Dataset.Status.READY)
                    .order_by("version", "pk").only(*columns))
    uses = _uses_in_effect(team, datasets) if datasets else {}
    if not any(uses.values()):
        return []
    family_of = {dataset.pk: dataset.first_version for dataset in datasets}
    place = {dataset.pk: place for place, dataset in enumerate(datasets)}
    pairs = Pair.objects.of(team).order_by()
    rows = (RowRatings.objects.filter(row__dataset__in=[pk for pk, of_dataset in uses.items() if of_dataset])
            .filter(pair__in=pairs.values("digest"))
            .annotate(pair_id=Subquery(pairs.filter(digest=OuterRef("pair")).values("pk")[:1]))
            .values_list("row__dataset", "pair_id", "swapped", "ratings"))
    choices: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for dataset, pair, swapped, ratings in sorted(rows.iterator(chunk_size=5000), key=lambda row: place[row[0]]):
        for use in uses[dataset]:
            if use.aspect in ratings and use.principle_id is not None:
                a, b = reversed(ratings[use.aspect]) if swapped else ratings[use.aspect]
                choices[family_of[dataset], use.principle_id][pair] = probability_of(
                    use.aspect, a, b, use.lower_is_better)
    newest_name = {family_of[dataset.pk]: dataset.name for dataset in datasets}
    return [RatedPairs(principle, f"ratings of dataset {newest_name[family]}",
                       _ids(pair for pair, probability in chosen.items() if probability > 0.5),
                       _ids(pair for pair, probability in chosen.items() if probability < 0.5))
            for (family, principle), chosen in sorted(choices.items())]


def _uses_in_effect(team: Team, datasets: Sequence[Dataset]) -> dict[int, list[AspectUse]]:
    """By dataset, what its aspects are used for, as `rating_uses.uses_of` gives it; one query for all of them. Datasets
     come in the order of their versions."""
    own: dict[int, list[AspectUse]] = defaultdict(list)
    for use in AspectUse.objects.of(team):
        own[use.dataset_id].append(use)
    newest: dict[int, list[AspectUse]] = {}
    effective = {}
    for dataset in datasets:
        if dataset.pk in own:
            newest[dataset.first_version] = own[dataset.pk]
        effective[dataset.pk] = [use for use in newest.get(dataset.first_version, []) if use.principle_id is not None]
    return effective


def with_ratings(principles: Mapping[int, Principle], answers: Sequence[Answers], labels: QuerySet[Label],
                 rated: Sequence[RatedPairs]) -> list[Between]:
    """The agreement of each judge with the ratings of each dataset, on the pairs whose label nobody of the team has
    decided on. One query; none without ratings."""
    if not rated:
        return []
    wording = ("principle_version", "judge", "prompt_version")
    decided = {tuple(row[:3]): ids(row[3]) for row in labels.exclude(review=Label.Review.OPEN).order_by()
               .values_list(*wording).annotate(pairs=PairIds("pair_id"))}
    counts: dict[tuple[int, str, str, str], np.ndarray] = {}
    for part in answers:
        left_out = decided.get((part.wording, part.judge, part.prompt_version), np.array([], dtype=np.int64))
        for choices in rated:
            if choices.principle != part.principle:
                continue
            people = [np.setdiff1d(side, left_out, assume_unique=True) for side in (choices.says_a, choices.says_b)]
            agreed = agreement((part.says_a, part.says_b), (people[0], people[1]))
            four = np.array([agreed.both_a, agreed.first_a, agreed.second_a, agreed.both_b])
            key = (part.principle, part.judge, part.prompt_version, choices.source)
            counts[key] = counts.get(key, 0) + four
    return [Between(principles[key[0]], asked_title(*key[1:3]), key[3], Agreement(*map(int, four)))
            for key, four in counts.items() if four.sum()]


def _ids(pairs: object) -> np.ndarray:
    return np.sort(np.fromiter(pairs, dtype=np.int64))  # type: ignore[call-overload]
