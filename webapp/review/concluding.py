"""What people say of many labels at once, where a canceled assignment no longer waits for the others.

The rule is that of `deciding.conclude`, label by label: nobody has still to decide, and all who decided agree.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence

from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q
from django.utils import timezone

from webapp.accounts.models import User
from webapp.labels.models import Label, LabelChange
from webapp.review.models import PROBABILITY, Choice, ReviewAssignment, ReviewDecision, ReviewItem, ReviewOutcome

State = ReviewItem.State
_AT_ONCE = 5000  # labels in one round of queries


def conclude_many(*, assignment: ReviewAssignment, labels: Sequence[int], by: User) -> int:
    """Make what people agree on the correction of each of these labels; call it in a transaction. Returns how many
    labels were corrected. Seven queries for 5,000 labels."""
    batch = uuid.uuid4().hex
    return sum(_conclude_part(assignment, labels[start:start + _AT_ONCE], by, batch)
               for start in range(0, len(labels), _AT_ONCE))


def _conclude_part(assignment: ReviewAssignment, labels: Sequence[int], by: User, batch: str) -> int:
    before = {label.pk: label for label in Label.objects.select_for_update().filter(pk__in=labels).order_by("pk").only(
        "review", "corrected_probability")}
    settled = ReviewOutcome.objects.filter(assignment=assignment, label=OuterRef("label"), withdrawn_at=None)
    agreed = dict(
        assignment.items.filter(label__in=labels).exclude(state=State.CANCELED).order_by().values("label").annotate(
            open=Count("pk", filter=Q(state=State.OPEN)), low=Min("value", filter=Q(state=State.DECIDED)),
            high=Max("value", filter=Q(state=State.DECIDED)))
        .filter(~Exists(settled), open=0, low=F("high")).values_list("label", "low"))
    seen = set(ReviewDecision.objects.filter(
        item__assignment=assignment, item__label__in=list(agreed), value__in=Choice.values, blind=False)
        .exclude(item__state=State.CANCELED).values_list("item__label", flat=True))
    now = timezone.now()
    changes = LabelChange.objects.bulk_create([LabelChange(
        team_id=assignment.team_id, label_id=label, batch=batch, blind=label not in seen, before=before[label].review,
        before_probability=before[label].corrected_probability, after=Label.Review.OVERRIDDEN,
        after_probability=PROBABILITY[Choice(value)], by=by, at=now) for label, value in sorted(agreed.items())])
    labels_by_value: dict[str, list[int]] = defaultdict(list)
    for label, value in agreed.items():
        labels_by_value[value].append(label)
    for value, keys in labels_by_value.items():
        Label.objects.filter(pk__in=keys).update(
            review=Label.Review.OVERRIDDEN, corrected_probability=PROBABILITY[Choice(value)], reviewed_by=by,
            reviewed_at=now)
    ReviewOutcome.objects.bulk_create([ReviewOutcome(
        team_id=assignment.team_id, assignment=assignment, label_id=change.label_id, value=agreed[change.label_id],
        is_adjudicated=False, by=by, change=change) for change in changes])
    return len(changes)
