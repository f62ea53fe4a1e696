"""What people make of labels: approve, override, reject, take back; each change is recorded with who and when.

The judge's own fields are never touched. What training sees is `Label.effective_probability`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from webapp.accounts.models import Team, User
from webapp.labels.models import Label, LabelChange

_PART = 500  # labels in one transaction
Review = Label.Review


def may_review(user: User, team: Team | None) -> bool:
    """Members who are staff review their team's labels; nobody else does."""
    return bool(team and user.is_active and user.is_staff and team.memberships.filter(user=user).exists())


@transaction.atomic
def label_override(*, label: Label, probability: float, by: User) -> LabelChange:
    """Put a person's probability that A is better in the place of the judge's."""
    if not 0 <= probability <= 1:
        raise ValidationError(f"The probability that A is better lies between 0 and 1, not at {probability:g}.")
    return _change(label, Review.OVERRIDDEN, probability, by)


@transaction.atomic
def label_approve(*, label: Label, by: User) -> LabelChange:
    """Say that the judge's label is right."""
    if label.probability is None:
        raise ValidationError("The judge gave no label here, so there is nothing to approve; set one or reject it.")
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


def labels_review(*, labels: QuerySet[Label], review: Review, by: User) -> tuple[str, int]:
    """Approve or reject many at once; returns the batch, by which it can be taken back, and how many changed.

    Labels that the judge could not give are not approved, and what is as asked already stays as it is. It goes in short
    transactions: if it is cut off, what was done has its batch and can be taken back.
    """
    if review not in {Review.APPROVED, Review.REJECTED}:
        raise ValidationError("Many labels at once can be approved or rejected.")
    wanted = labels.exclude(review=review).order_by()
    if review == Review.APPROVED:
        wanted = wanted.filter(probability__isnull=False)
    batch, count = uuid.uuid4().hex, 0
    for part in batched(list(wanted.values_list("pk", flat=True)), _PART):
        count += _review_part(part, review, by, batch)
    return batch, count


def batch_undo(*, team: Team, batch: str) -> int:
    """Take back what one action did, where nothing was changed since; returns the number of labels."""
    changes = LabelChange.objects.of(team).filter(batch=batch, undone_at=None)
    return sum(_undo_part(part) for part in batched(list(changes.values_list("pk", flat=True)), _PART))


@transaction.atomic
def _review_part(labels: Sequence[int], review: Review, by: User, batch: str) -> int:
    """A part of many: short, so that whoever else writes is not kept waiting."""
    rows = Label.objects.select_for_update().filter(pk__in=labels).exclude(review=review)
    found = list(rows.values_list("pk", "team_id", "review", "corrected_probability"))
    now = timezone.now()
    LabelChange.objects.bulk_create([
        LabelChange(label_id=pk, team_id=team, batch=batch, before=before, before_probability=corrected, after=review,
                    by=by, at=now)
        for pk, team, before, corrected in found
    ])
    Label.objects.filter(pk__in=[pk for pk, *_ in found]).update(
        review=review, corrected_probability=None, reviewed_by=by, reviewed_at=now)
    return len(found)


@transaction.atomic
def _undo_part(changes: Sequence[int]) -> int:
    """Take back a part of a batch; labels that go back to the same state are written together."""
    wanted = {change.label_id: change for change in LabelChange.objects.filter(pk__in=changes, undone_at=None)}
    list(Label.objects.select_for_update().filter(pk__in=wanted).values_list("pk"))  # nobody decides meanwhile
    standing: dict[int, list[LabelChange]] = {}
    for change in LabelChange.objects.filter(label__in=wanted, undone_at=None).order_by("pk"):
        standing.setdefault(change.label_id, []).append(change)
    states: dict[tuple[str, float | None, int | None, datetime | None], list[int]] = {}
    taken = []
    for label, change in wanted.items():
        *earlier, last = standing[label]
        if last.pk != change.pk:
            continue
        who, when = (earlier[-1].by_id, earlier[-1].at) if earlier else (None, None)
        states.setdefault((change.before, change.before_probability, who, when), []).append(label)
        taken.append(change.pk)
    for (before, probability, who, when), labels in states.items():
        Label.objects.filter(pk__in=labels).update(review=before, corrected_probability=probability,
                                                   reviewed_by=who, reviewed_at=when)
    return LabelChange.objects.filter(pk__in=taken).update(undone_at=timezone.now())


def batched(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """The rows in parts of at most `size`."""
    return (rows[start:start + size] for start in range(0, len(rows), size))


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
