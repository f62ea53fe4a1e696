"""A person's decisions in their queue: recorded once, skipped, taken back. What all say of a label corrects it.

Every function locks the label first, so that two people who decide on one label at the same moment are seen one after
the other.
"""

from __future__ import annotations

import uuid

from django.db import transaction
from django.utils import timezone

from webapp.accounts.models import User
from webapp.labels.models import Label
from webapp.labels.services import label_override, label_undo
from webapp.review.models import (
    PROBABILITY,
    SKIP,
    UNDO,
    Choice,
    ReviewAssignment,
    ReviewDecision,
    ReviewItem,
    ReviewOutcome,
)

State = ReviewItem.State
LONGEST = 3600.0  # seconds; whoever looked at a pair for longer was away
VALUES = (*Choice.values, SKIP)


class DecisionRefused(Exception):
    """A decision that is not recorded; the message says why and what to do."""


@transaction.atomic
def decide(*, item: ReviewItem, user: User, value: str, key: str = "", seconds: float | None = None) -> ReviewItem:
    """Record a person's choice, or that they skip the pair. The same `key` again changes nothing.

    Raises:
        DecisionRefused: it is no choice, or the item is decided or canceled already.
    """
    if value not in VALUES:
        raise DecisionRefused(f"“{value[:20]}” is no decision. Choose A, B, a tie, or skip the pair.")
    Label.objects.select_for_update().get(pk=item.label_id)
    if _is_repeated(user, key):
        return ReviewItem.objects.get(pk=item.pk)
    is_blind = item.assignment.blind and not item.decisions.exists()
    state = State.SKIPPED if value == SKIP else State.DECIDED
    changed = ReviewItem.objects.filter(pk=item.pk, user=user, state=State.OPEN).update(
        state=state, value="" if value == SKIP else value, decided_at=timezone.now())
    if not changed:
        present = ReviewItem.objects.get(pk=item.pk)
        if present.state == State.CANCELED:
            raise DecisionRefused("A member has taken this pair out of your queue; this decision was not saved.")
        raise DecisionRefused("You have decided on this pair already. Undo takes the last decision back.")
    _record(item, user, value, is_blind, seconds, key)
    conclude(assignment=item.assignment, label_id=item.label_id, by=user)
    return ReviewItem.objects.get(pk=item.pk)


@transaction.atomic
def undo(*, assignment: ReviewAssignment, user: User, key: str = "") -> ReviewItem | None:
    """Take back the person's last decision or skip: the pair is the next one again, and a correction that it led to is
    taken back too, unless somebody has decided on the label since. None: there is nothing to take back."""
    if key and (repeated := ReviewDecision.objects.filter(user=user, key=key).select_related("item").first()):
        return repeated.item
    last = (ReviewItem.objects.select_for_update().filter(
        assignment=assignment, user=user, state__in=[State.DECIDED, State.SKIPPED])
        .order_by("-decided_at", "-position").first())
    if last is None:
        return None
    Label.objects.select_for_update().get(pk=last.label_id)
    _record(last, user, UNDO, False, None, key)
    is_canceled = assignment.canceled_at is not None
    last.state, last.value, last.decided_at = State.CANCELED if is_canceled else State.OPEN, "", None
    last.save(update_fields=["state", "value", "decided_at"])
    _withdraw(assignment, last.label_id)
    return last


@transaction.atomic
def adjudicate(*, assignment: ReviewAssignment, label: Label, value: str, by: User) -> ReviewOutcome:
    """A member decides between people who differ; the decision becomes the label's correction.

    Raises:
        DecisionRefused: it is no choice, people do not differ, or somebody has adjudicated already.
    """
    if value not in Choice.values:
        raise DecisionRefused(f"“{value[:20]}” is no decision. Choose A, B or a tie.")
    Label.objects.select_for_update().get(pk=label.pk)
    if _standing(assignment, label.pk) is not None:
        raise DecisionRefused("This pair is decided already. The next one is shown.")
    items = ReviewItem.objects.filter(assignment=assignment, label=label, state=State.DECIDED)
    if len(set(items.values_list("value", flat=True))) < 2:
        raise DecisionRefused("People no longer differ on this pair: somebody took a decision back. The next one is "
                              "shown.")
    return _settle(assignment, label.pk, Choice(value), by, is_adjudicated=True, is_blind=False)


def conclude(*, assignment: ReviewAssignment, label_id: int, by: User) -> ReviewOutcome | None:
    """Where everybody has decided or skipped, and those who decided agree, make that the label's correction."""
    items = list(ReviewItem.objects.filter(assignment=assignment, label=label_id).exclude(state=State.CANCELED))
    values = {item.value for item in items if item.state == State.DECIDED}
    if any(item.state == State.OPEN for item in items) or len(values) != 1:
        return None
    if _standing(assignment, label_id) is not None:
        return None
    is_blind = not ReviewDecision.objects.filter(
        item__in=[item.pk for item in items], value__in=Choice.values, blind=False).exists()
    return _settle(assignment, label_id, Choice(values.pop()), by, is_adjudicated=False, is_blind=is_blind)


def _settle(assignment: ReviewAssignment, label_id: int, value: Choice, by: User, *, is_adjudicated: bool,
            is_blind: bool) -> ReviewOutcome:
    label = Label.objects.get(pk=label_id)
    change = label_override(label=label, probability=PROBABILITY[value], by=by, blind=is_blind)
    return ReviewOutcome.objects.create(team_id=assignment.team_id, assignment=assignment, label=label, value=value,
                                        is_adjudicated=is_adjudicated, by=by, change=change)


def _withdraw(assignment: ReviewAssignment, label_id: int) -> None:
    outcome = _standing(assignment, label_id)
    if outcome is None or outcome.is_adjudicated:
        return
    last = outcome.label.changes.filter(undone_at=None).first()
    if last is not None and last.pk == outcome.change_id:
        label_undo(label=outcome.label)
    outcome.withdrawn_at = timezone.now()
    outcome.save(update_fields=["withdrawn_at"])


def _standing(assignment: ReviewAssignment, label_id: int) -> ReviewOutcome | None:
    return ReviewOutcome.objects.filter(assignment=assignment, label=label_id, withdrawn_at=None).select_related(
        "label").first()


def _is_repeated(user: User, key: str) -> bool:
    return bool(key) and ReviewDecision.objects.filter(user=user, key=key).exists()


def _record(item: ReviewItem, user: User, value: str, is_blind: bool, seconds: float | None, key: str) -> None:
    if seconds is not None:
        seconds = min(max(seconds, 0.0), LONGEST)
    ReviewDecision.objects.create(item=item, user=user, value=value, blind=is_blind, seconds=seconds,
                                  key=key[:64] or uuid.uuid4().hex)
