"""Which principle the ratings of a dataset on an aspect are about: as its team says, or as their names suggest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from webapp.accounts.models import User
from webapp.datasets.models import Dataset
from webapp.datasets.versions import family_of
from webapp.labels.models import AspectUse
from webapp.principles.models import Principle

# Names that do not agree and mean the same, in datasets of the field: aspect, principles in order of choice, and
# whether less of it is better.
_KNOWN: dict[str, tuple[tuple[str, ...], bool]] = {
    "correctness": (("factuality", "accuracy", "truthfulness"), False),
    "truthfulness": (("factuality", "honesty"), False),
    "verbosity": (("conciseness", "brevity"), True),
    "safer": (("harmlessness", "safety"), False),
    "better": (("helpfulness",), False),
}


@dataclass(frozen=True)
class Use:
    """What one aspect is used for; no principle: for nothing."""

    principle: Principle | None = None
    lower_is_better: bool = False


def suggested(aspects: Iterable[str], principles: Iterable[Principle]) -> dict[str, Use]:
    """A use for every aspect: the principle of the same name, else one that the field's datasets mean by it.

    Of a fault the lower rating is better, because a principle's higher score always means the better response. No
    principle is suggested twice.
    """
    aspects = sorted(aspects)
    by_name = {_plain(principle.name): principle for principle in principles if not principle.archived}
    uses = {aspect: Use() for aspect in aspects}
    for aspect in aspects:
        if principle := by_name.pop(_plain(aspect), None):
            uses[aspect] = Use(principle, principle.polarity == Principle.Polarity.VICE)
    for aspect in aspects:
        names, lower_is_better = _KNOWN.get(_plain(aspect), ((), False))
        name = next((name for name in names if name in by_name), None)
        if name is not None and uses[aspect].principle is None:
            uses[aspect] = Use(by_name.pop(name), lower_is_better)
    return uses


def uses_of(dataset: Dataset) -> list[AspectUse]:
    """What was said of the dataset's aspects or, where nothing was, of those of the newest version before it."""
    versions = family_of(dataset).filter(version__lte=dataset.version).values("pk")
    rows = AspectUse.objects.filter(dataset__in=versions).select_related("principle", "by").order_by(
        "-dataset__version", "aspect")
    return [row for row in rows if row.dataset_id == rows[0].dataset_id]


def aspects_in_recipe(dataset: Dataset) -> dict[str, str]:
    """What the team said of the dataset's aspects, as `data.ratings` of a recipe: {"conciseness": "-verbosity"}."""
    return {use.principle.name: f"{'-' if use.lower_is_better else ''}{use.aspect}"
            for use in uses_of(dataset) if use.principle is not None and use.aspect in dataset.aspects}


@transaction.atomic
def aspects_use(*, dataset: Dataset, user: User, uses: Mapping[str, Use]) -> None:
    """Say what each aspect of a dataset is used for, in place of what was said before."""
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    AspectUse.objects.filter(dataset=dataset).delete()
    now = timezone.now()
    AspectUse.objects.bulk_create([
        AspectUse(team=dataset.team, dataset=dataset, aspect=aspect, principle=use.principle,
                  lower_is_better=use.lower_is_better, by=user, at=now) for aspect, use in sorted(uses.items())])


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
