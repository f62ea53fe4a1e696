"""Decisions on one label: approve, override, reject, undo. Each change is recorded with its user and time.

Many labels at once: see `webapp.labels.bulk`. The judge's own fields are never changed. Training uses
`Label.effective_probability`.
"""

from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from webapp.accounts.models import Role, Team, User
from webapp.labels.models import Label, LabelChange

Review = Label.Review


def may_review(user: User, team: Team | None) -> bool:
    """Whether the user may review the team's labels: only members who are staff may."""
    return bool(team and user.is_active and user.is_staff and team.memberships.filter(user=user).exclude(
        role=Role.ANNOTATOR).exists())


@transaction.atomic
def label_override(*, label: Label, probability: float, by: User, blind: bool = False) -> LabelChange:
    """Override the judge's probability that A is better with a person's; `blind`: its answer was not shown."""
    if not 0 <= probability <= 1:
        raise ValidationError(f"The probability that A is better must be from 0 to 1, not {probability:g}.")
    return _change(label, Review.OVERRIDDEN, probability, by, blind)


@transaction.atomic
def label_approve(*, label: Label, by: User) -> LabelChange:
    """Approve the judge's label."""
    if label.probability is None:
        raise ValidationError("The judge gave no label here, so there is nothing to approve. Set a label or reject it.")
    return _change(label, Review.APPROVED, None, by)


@transaction.atomic
def label_reject(*, label: Label, by: User, blind: bool = False) -> LabelChange:
    """Reject the label: training does not use it."""
    return _change(label, Review.REJECTED, None, by, blind)


@transaction.atomic
def label_undo(*, label: Label) -> LabelChange | None:
    """Undo the label's last change. Returns None if there is none."""
    locked = Label.objects.select_for_update().get(pk=label.pk)
    change = locked.changes.filter(undone_at=None).first()
    if change is not None:
        _take_back(locked, change)
        label.refresh_from_db()
    return change


def _change(label: Label, review: Review, probability: float | None, by: User, blind: bool = False) -> LabelChange:
    """Record and apply the change on the row's current state."""
    locked = Label.objects.select_for_update().get(pk=label.pk)
    change = LabelChange.objects.create(
        team_id=locked.team_id, label=locked, batch=uuid.uuid4().hex, blind=blind, before=locked.review,
        before_probability=locked.corrected_probability, after=review, after_probability=probability, by=by)
    _set(locked, review, probability, change)
    label.refresh_from_db()
    return change


def _take_back(label: Label, change: LabelChange) -> None:
    change.undone_at = timezone.now()
    change.save(update_fields=["undone_at"])
    _set(label, Review(change.before), change.before_probability, label.changes.filter(undone_at=None).first())


def _set(label: Label, review: Review, probability: float | None, last: LabelChange | None) -> None:
    label.review, label.corrected_probability = review, probability
    label.reviewed_by = last.by if last else None
    label.reviewed_at = last.at if last else None
    label.save(update_fields=["review", "corrected_probability", "reviewed_by", "reviewed_at"])
