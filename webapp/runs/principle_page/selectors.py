"""Queries of the pages of principles: wordings with their labels, and the latest preference models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery

from webapp.accounts.models import Team
from webapp.labels.models import Label, Pair
from webapp.principles.models import Principle, PrincipleVersion
from webapp.runs.models import Stage


@dataclass(frozen=True)
class Wording:
    """A version with its number of labels and how often the judge's two orders disagreed."""

    version: PrincipleVersion
    labels: int
    both_orders: int
    flips: int

    @property
    def flip_rate(self) -> float | None:
        return self.flips / self.both_orders if self.both_orders else None


@dataclass(frozen=True)
class Card:
    """A principle as the list shows it."""

    principle: Principle
    wording: Wording | None
    accuracy: float | None


def principle_cards(*, team: Team, archived: bool = False) -> list[Card]:
    """The team's principles, each with its latest wording and the latest accuracy of its preference model."""
    principles = list(_with_report(team).filter(archived=archived))
    latest: dict[int, PrincipleVersion] = {}
    for version in PrincipleVersion.objects.filter(principle__in=principles).order_by("number"):
        latest[version.principle_id] = version
    counted = {wording.version.pk: wording for wording in _wordings(list(latest.values()))}
    return [Card(item, counted[latest[item.pk].pk] if item.pk in latest else None, accuracy_of(item))
            for item in principles]


def principle_detail(*, team: Team) -> QuerySet[Principle]:
    """One principle with its versions, newest first, and the latest report on its preference model."""
    versions = PrincipleVersion.objects.select_related("created_by")
    return _with_report(team).prefetch_related(Prefetch("versions", versions))


def wordings(*, principle: Principle) -> list[Wording]:
    """All versions of a principle, newest first, with their counts of labels."""
    return _wordings(list(principle.versions.all()))


def accuracy_of(principle: Principle) -> float | None:
    """Held-out accuracy of the latest preference model; None before there is one."""
    report: dict[str, Any] = getattr(principle, "report", None) or {}
    heads: dict[str, Any] = (getattr(principle, "trunk", None) or {}).get("cards", {})
    own_at, trunk_at = getattr(principle, "report_at", None), getattr(principle, "trunk_at", None)
    if principle.name in heads and (own_at is None or own_at < trunk_at):
        report = heads[principle.name]
    accuracy = report.get("accuracy")
    return float(accuracy) if isinstance(accuracy, int | float) else None


def pairs_to_try(*, team: Team, count: int = 30) -> QuerySet[Pair]:
    """The newest pairs, for the choice in "try it"."""
    return Pair.objects.of(team).only("pk", "excerpt")[:count]


def _with_report(team: Team) -> QuerySet[Principle]:
    trained = Stage.objects.filter(team=team, kind="preference_model", status=Stage.Status.SUCCEEDED,
                                   finished_at__isnull=False).order_by("-finished_at")
    own, trunk = trained.filter(principle=OuterRef("name")), trained.filter(principle="")
    principles = Principle.objects.of(team).annotate(
        report=Subquery(own.values("summary")[:1]), report_at=Subquery(own.values("finished_at")[:1]),
        trunk=Subquery(trunk.values("summary")[:1]), trunk_at=Subquery(trunk.values("finished_at")[:1]))
    return cast("QuerySet[Principle]", principles)


def _wordings(versions: list[PrincipleVersion]) -> list[Wording]:
    asked_twice = Q(p_shown__isnull=False, p_swapped__isnull=False)
    counts = {
        row["principle_version"]: row
        for row in Label.objects.filter(principle_version__in=versions).order_by().values("principle_version").annotate(
            labels=Count("pk"), both=Count("pk", filter=asked_twice), flips=Count("pk", filter=Q(order_flip=True)))
    }
    return [Wording(version, row["labels"], row["both"], row["flips"]) if (row := counts.get(version.pk))
            else Wording(version, 0, 0, 0) for version in versions]
