"""Assigns labels to people: so many to each, some of them to several people, and takes back what is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from webapp.accounts.models import Team, User
from webapp.labels import selectors
from webapp.labels.models import Label
from webapp.review.concluding import conclude_many
from webapp.review.inserting import queues_insert
from webapp.review.models import ReviewAssignment, ReviewItem
from webapp.review.ordering import keys_in_order

State = ReviewItem.State


@dataclass(frozen=True)
class Dealing:
    """How labels are dealt to people."""

    people: Sequence[User]
    per_person: int
    overlap_every: int = 0  # every so many labels one goes to several people; 0: none
    overlap_people: int = 2
    order: str = ReviewAssignment.Order.MIDDLE
    blind: bool = True
    filters: Mapping[str, Any] = field(default_factory=dict)


def labels_to_assign(team: Team, filters: Mapping[str, Any]) -> QuerySet[Label]:
    """The labels of a filter that nobody has decided and that are in nobody's queue."""
    queued = ReviewItem.objects.filter(label=OuterRef("pk")).exclude(state=State.CANCELED)
    return selectors.labels_of(team, filters).filter(~Exists(queued), review=Label.Review.OPEN)


@transaction.atomic
def assignment_create(*, team: Team, by: User, name: str, dealing: Dealing) -> ReviewAssignment:
    """Deal the labels of a filter. The queues are inserted in parts, so that 100,000 labels take little memory.

    Raises:
        ValidationError: no label is left to assign, or a label cannot go to as many people as it should.
    """
    if dealing.overlap_every and dealing.overlap_people > len(dealing.people):
        raise ValidationError(f"A label cannot go to {dealing.overlap_people} people: you chose {len(dealing.people)}. "
                              "Choose more people, or set the overlap to 0.")
    assignment = ReviewAssignment.objects.create(
        team=team, created_by=by, name=name, filters=dict(dealing.filters), order=dealing.order, blind=dealing.blind,
        per_person=dealing.per_person, overlap_every=dealing.overlap_every, overlap_people=dealing.overlap_people)
    keys = keys_in_order(labels_to_assign(team, dealing.filters), dealing.order, team, seed=assignment.pk,
                         most=dealing.per_person * len(dealing.people))
    if not len(keys):
        raise ValidationError("No label is left to assign: all that match are decided, or in somebody's queue.")
    people = [person.pk for person in dealing.people]
    queues_insert(assignment=assignment, dealt=deal(
        keys.tolist(), people, per_person=dealing.per_person, overlap_every=dealing.overlap_every,
        overlap_people=dealing.overlap_people))
    return assignment


def deal(labels: Iterable[int], people: Sequence[int], *, per_person: int, overlap_every: int,
         overlap_people: int) -> Iterator[tuple[int, int, int]]:
    """Deal labels round the table until everybody has `per_person`, or none is left.

    Every `overlap_every`-th label goes to `overlap_people` people; at the end to fewer where not so many have room.

    Yields:
        label, person, and its place in that person's queue.
    """
    labels_held = dict.fromkeys(people, 0)
    table = cycle(people)
    for number, label in enumerate(labels, 1):
        several = overlap_people if overlap_every and number % overlap_every == 0 else 1
        with_room = sum(count < per_person for count in labels_held.values())
        if not with_room:
            return
        taken = 0
        while taken < min(several, with_room):
            person = next(table)
            if labels_held[person] < per_person:
                yield label, person, labels_held[person]
                labels_held[person] += 1
                taken += 1


@transaction.atomic
def assignment_cancel(*, assignment: ReviewAssignment, by: User) -> int:
    """Take what nobody has decided yet out of all queues. Decisions stay, and where everybody who is left agrees, they
    become the label's correction. Returns how many labels were taken out of a queue."""
    ReviewAssignment.objects.filter(pk=assignment.pk).update(canceled_at=timezone.now())
    waiting = ReviewItem.objects.filter(assignment=assignment, state=State.OPEN)
    decided = ReviewItem.objects.filter(assignment=assignment, state=State.DECIDED, label__in=waiting.values("label"))
    waited_for = list(decided.order_by("label").values_list("label", flat=True).distinct())
    canceled = waiting.update(state=State.CANCELED)
    conclude_many(assignment=assignment, labels=waited_for, by=by)
    return canceled
