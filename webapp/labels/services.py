"""What people make of one label: approve, override, reject, take back; each change is recorded with who and when.

Many labels at once: see `webapp.labels.bulk`. The judge's own fields are never touched. What training sees is
`Label.effective_probability`.
"""

from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from webapp.accounts.models import Team, User
from webapp.labels.models import Label, LabelChange

Review = Label.Review


def may_review(user: User, team: Team | None) -> bool:
    """Members who are staff review their team's labels; nobody else does."""
    return bool(team and user.is_active and user.is_staff and team.memberships.filter(user=user).exists())


@transaction.atomic
def label_override(*, label: Label, probability: float, by: User) -> LabelChange:
    """Put a person's probability that A is better in the place of the judge's."""
    if not 0 <= probability <= 1:
        raise ValidationError(f"The probability that A is better must be from 0 to 1, not {probability:g}.")
    return _change(label, Review.OVERRIDDEN, probability, by)


@transaction.atomic
def label_approve(*, label: Label, by: User) -> LabelChange:
    """Say that the judge's label is right."""
    if label.probability is None:
        raise ValidationError("The judge gave no label here, so there is nothing to approve. Set a label or reject it.")
    return _change(label, Review.APPROVED, None, by)


@transaction.atomic
def label_reject(*, label: Label, by: User) -> LabelChange:
    """Keep the label out of training."""
    return _change(label, Review.REJECTED, None, by)


@transaction.atomic
def label_undo(*, label: Label) -> LabelChange | None:
    """Take the label's last change back; None if there is none."""
    locked = Label.objects.select_for_update().get(pk=label.pk)
    change = locked.changes.filter(undone_at=None).first()
    if change is not None:
        _take_back(locked, change)
        label.refresh_from_db()
    return change


def _change(label: Label, review: Review, probability: float | None, by: User) -> LabelChange:
    """Record the change and make it, on the row as it is now."""
    locked = Label.objects.select_for_update().get(pk=label.pk)
    change = LabelChange.objects.create(
        team_id=locked.team_id, label=locked, batch=uuid.uuid4().hex, before=locked.review,
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
