"""Changes to principles. A wording is never changed: editing the statement, or the measure, adds a version."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.dispatch import receiver

from training.config.principles import library
from webapp.accounts.models import Team, User
from webapp.accounts.signals import team_created
from webapp.principles.models import Principle, PrincipleVersion


@receiver(team_created)
def library_copy(*, team: Team, user: User, **_signal: Any) -> None:
    """Give a new team its own copy of the library of principles, each at version 1."""
    principles = Principle.objects.bulk_create([
        Principle(team=team, name=entry.name, polarity=entry.polarity, description=entry.description,
                  symbol=entry.symbol, hue=entry.hue)
        for entry in library().values()
    ])
    PrincipleVersion.objects.bulk_create([
        PrincipleVersion(principle=principle, number=1, statement=entry.statement, created_by=user)
        for principle, entry in zip(principles, library().values(), strict=True)
    ])


@transaction.atomic
def principle_create(*, team: Team, user: User, name: str, statement: str, polarity: str, description: str = "",
                     symbol: str = "●", hue: str = "#4477AA", measure: dict[str, Any] | None = None) -> Principle:
    """Create a principle at version 1; with `measure` a program decides it, and `statement` says what it measures."""
    principle = Principle.objects.create(team=team, name=name, polarity=polarity, description=description,
                                         symbol=symbol, hue=hue)
    PrincipleVersion.objects.create(principle=principle, number=1, statement=statement, measure=measure,
                                    created_by=user)
    return principle


@transaction.atomic
def principle_edit(*, principle: Principle, user: User, statement: str, polarity: str, description: str, symbol: str,
                   hue: str, measure: dict[str, Any] | None = None) -> PrincipleVersion | None:
    """Change a principle's look, and add a version if the wording or the measure differs from the latest. Returns the
    new latest."""
    locked = Principle.objects.select_for_update().get(pk=principle.pk)
    locked.polarity, locked.description, locked.symbol, locked.hue = polarity, description, symbol, hue
    locked.save(update_fields=["polarity", "description", "symbol", "hue"])
    latest = locked.versions.first()
    if latest and (latest.statement, latest.measure) == (statement, measure):
        return None
    number = latest.number + 1 if latest else 1
    return PrincipleVersion.objects.create(principle=locked, number=number, statement=statement, measure=measure,
                                           created_by=user)


def principle_archive(*, principle: Principle, archived: bool) -> None:
    """Archive a principle, so that new runs do not offer it, or restore it. Its labels and models stay."""
    Principle.objects.filter(pk=principle.pk).update(archived=archived)
