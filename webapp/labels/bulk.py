"""Actions on many labels: confirmed with a count, done in parts by a worker, and undone as one.

Labels that people have decided are left alone unless the user includes them. Every part is one short transaction and
is never repeated, so an action whose worker died is simply restarted. `undo` of any action, also of an undo, restores
each label that nobody has decided since.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, OperationalError, transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from webapp.accounts.models import Team, User
from webapp.celery import JOBS, send
from webapp.labels import selectors
from webapp.labels.models import BulkAction, Label, LabelChange

MOST_AT_ONCE = 100  # labels that are changed without a question, while the page waits
TASK = "workers.bulk_labels"
_BATCH = re.compile(r"[0-9a-f]{32}")
_PART = 500  # labels in one transaction
_SILENT = timedelta(seconds=60)  # a worker that was not heard of for so long is gone

Kind: TypeAlias = BulkAction.Kind
Status: TypeAlias = BulkAction.Status
Review: TypeAlias = Label.Review
_AFTER = {Kind.APPROVE: Review.APPROVED, Kind.REJECT: Review.REJECTED}
logger = logging.getLogger("concord.labels")


def labels_for(action: BulkAction) -> QuerySet[Label]:
    """The labels that an action (of any kind but undo) still has to change."""
    labels = selectors.labels_of(action.team, action.filters).filter(pk__lte=action.up_to).order_by()
    if action.kind == Kind.TAKE_BACK:
        changes = LabelChange.objects.filter(label=OuterRef("pk"))
        return labels.filter(Exists(changes.filter(undone_at=None, at__lte=action.created_at))).exclude(
            Exists(changes.filter(undone_by_batch=action.batch)))
    labels = labels.exclude(review=_AFTER[Kind(action.kind)])
    if action.kind == Kind.APPROVE:  # where the judge gave no label there is nothing to approve
        labels = labels.filter(probability__isnull=False)
    return labels if action.includes_decided else labels.filter(review=Review.OPEN)


def draft(*, team: Team, by: User, kind: Kind, filters: Mapping[str, object], includes_decided: bool = False,
          up_to: int | None = None, batch: str = "") -> BulkAction:
    """An unsaved action with its count of labels. The same `batch` can be started only once."""
    if up_to is None:
        up_to = Label.objects.of(team).aggregate(last=Max("pk"))["last"] or 0
    action = BulkAction(team=team, by=by, kind=kind, filters=dict(filters), includes_decided=includes_decided,
                        up_to=up_to, batch=batch if _BATCH.fullmatch(batch) else uuid.uuid4().hex)
    action.total = labels_for(action).count()
    return action


def decided_count(action: BulkAction) -> int:
    """The number of labels decided by people that an approval or rejection would change if it includes them."""
    if action.kind == Kind.TAKE_BACK:
        return action.total
    every = BulkAction(team=action.team, kind=action.kind, filters=action.filters, up_to=action.up_to,
                       includes_decided=True)
    return labels_for(every).exclude(review=Review.OPEN).count()


def asks(action: BulkAction) -> bool:
    """Whether the action needs a confirmation: it is large, or people have decided some of the labels."""
    return action.total > MOST_AT_ONCE or decided_count(action) > 0


@transaction.atomic
def start(*, action: BulkAction) -> BulkAction:
    """Run a small action at once, or hand a large one to the workers."""
    action.created_at = timezone.now()
    action.save()
    if action.total > MOST_AT_ONCE:
        send(TASK, action.pk, queue=JOBS)
    else:
        run(action_id=action.pk)
        action.refresh_from_db()
    return action


def undo(*, action: BulkAction, by: User) -> BulkAction:
    """Undo a whole action.

    Raises:
        ValidationError: it is still running, or has been undone already.
    """
    if action.is_active:
        raise ValidationError("This action is still running. Wait until it has ended, then undo it.")
    if BulkAction.objects.filter(undoes=action).exists():
        raise ValidationError("This action is already undone.")
    undoing = BulkAction(team=action.team, by=by, kind=Kind.UNDO, undoes=action, batch=uuid.uuid4().hex)
    undoing.total = _made_by(action).count() + _undone_by(action).count()
    try:
        return start(action=undoing)
    except IntegrityError:  # somebody else was a moment earlier
        raise ValidationError("This action is already undone.") from None


def run(*, action_id: int) -> None:
    """Run an action. A task that is delivered twice finds nothing to do. If the database becomes unavailable, the
    action ends for now, and `send_again` restarts it."""
    now = timezone.now()
    waiting = Q(status=Status.WAITING) | Q(status=Status.RUNNING, touched_at__lt=now - _SILENT)
    if not BulkAction.objects.filter(waiting, pk=action_id).update(status=Status.RUNNING, touched_at=now):
        return
    action = BulkAction.objects.select_related("team", "by", "undoes").get(pk=action_id)
    try:
        for work, keys in _parts(action):
            changed = work(keys, action)
            action.handled, action.changed = action.handled + len(keys), action.changed + changed
            BulkAction.objects.filter(pk=action_id).update(
                handled=action.handled, changed=action.changed, touched_at=timezone.now())
    except OperationalError:
        raise
    except (DatabaseError, ValueError, TypeError, KeyError, ValidationError) as error:
        logger.exception("the action %s on many labels", action_id)
        _end(action, Status.FAILED, f"It stopped after {action.changed:,} labels ({type(error).__name__}: {error}). "
                                    "Undo reverses these; see the workers' log for details.")
    else:
        _end(action, Status.DONE, "")


def send_again() -> None:
    """Restart actions whose message or worker was lost."""
    silent = timezone.now() - _SILENT
    lost = Q(status=Status.WAITING, created_at__lt=silent) | Q(status=Status.RUNNING, touched_at__lt=silent)
    for pk in BulkAction.objects.filter(lost).values_list("pk", flat=True):
        send(TASK, pk, queue=JOBS)


Work = Callable[[Sequence[int], BulkAction], int]


def _parts(action: BulkAction) -> Iterator[tuple[Work, Sequence[int]]]:
    """Yield the parts of an action: a function and the keys of the labels or changes to call it with."""
    if action.kind == Kind.UNDO:
        assert action.undoes is not None
        yield from _batches(_take_back_part, _made_by(action.undoes))
        yield from _batches(_redo_part, _undone_by(action.undoes))
        return
    work: Work = _take_back_last_part if action.kind == Kind.TAKE_BACK else _review_part
    yield from _batches(work, labels_for(action))


def _batches(work: Work, rows: QuerySet[Any]) -> Iterator[tuple[Work, Sequence[int]]]:
    keys = list(rows.values_list("pk", flat=True))
    return ((work, keys[start:start + _PART]) for start in range(0, len(keys), _PART))


def _made_by(action: BulkAction) -> QuerySet[LabelChange]:
    return LabelChange.objects.of(action.team).filter(batch=action.batch, undone_at=None).order_by()


def _undone_by(action: BulkAction) -> QuerySet[LabelChange]:
    return LabelChange.objects.of(action.team).filter(undone_by_batch=action.batch).exclude(undone_at=None).order_by()


def _end(action: BulkAction, status: Status, message: str) -> None:
    BulkAction.objects.filter(pk=action.pk).update(status=status, message=message[:500], finished_at=timezone.now())


@transaction.atomic
def _review_part(labels: Sequence[int], action: BulkAction) -> int:
    """Approve or reject those of these labels that still match the action."""
    rows = labels_for(action).select_for_update(of=("self",)).filter(pk__in=labels)
    states = list(rows.values_list("pk", "review", "corrected_probability"))
    after, now = _AFTER[Kind(action.kind)], timezone.now()
    LabelChange.objects.bulk_create([
        LabelChange(label_id=pk, team=action.team, batch=action.batch, before=before, before_probability=corrected,
                    after=after, by=action.by, at=now)
        for pk, before, corrected in states
    ])
    Label.objects.filter(pk__in=[pk for pk, *_ in states]).update(
        review=after, corrected_probability=None, reviewed_by=action.by, reviewed_at=now)
    return len(states)


@transaction.atomic
def _take_back_last_part(labels: Sequence[int], action: BulkAction) -> int:
    last = LabelChange.objects.filter(label__in=labels, undone_at=None).order_by().values("label").annotate(
        last=Max("pk")).values_list("last", flat=True)
    return _take_back_part(list(last), action)


@transaction.atomic
def _take_back_part(changes: Sequence[int], action: BulkAction) -> int:
    """Undo changes that are still the latest; labels that return to the same state are written together."""
    by_label = {change.label_id: change for change in LabelChange.objects.filter(pk__in=changes, undone_at=None)}
    standing = _standing(list(by_label))
    states: dict[_State, list[int]] = {}
    undone = []
    for label, change in by_label.items():
        *earlier, last = standing[label]
        if last.pk != change.pk:
            continue
        who, when = (earlier[-1].by_id, earlier[-1].at) if earlier else (None, None)
        states.setdefault((change.before, change.before_probability, who, when), []).append(label)
        undone.append(change.pk)
    _write(states)
    return LabelChange.objects.filter(pk__in=undone).update(undone_at=timezone.now(), undone_by_batch=action.batch)


@transaction.atomic
def _redo_part(changes: Sequence[int], action: BulkAction) -> int:
    """Redo undone changes of labels that nobody has decided since."""
    undone = LabelChange.objects.filter(pk__in=changes).exclude(undone_at=None)
    by_label = {change.label_id: change for change in undone}
    standing = _standing(list(by_label))
    states: dict[_State, list[int]] = {}
    redone = []
    for label, change in by_label.items():
        if any(later.pk > change.pk for later in standing.get(label, ())):
            continue
        states.setdefault((change.after, change.after_probability, change.by_id, change.at), []).append(label)
        redone.append(change.pk)
    _write(states)
    return LabelChange.objects.filter(pk__in=redone).update(undone_at=None, undone_by_batch="")


_State = tuple[str, float | None, int | None, datetime | None]  # review, corrected probability, by whom, when


def _standing(labels: Sequence[int]) -> dict[int, list[LabelChange]]:
    """The changes of these labels that are not undone, oldest first. Locks the labels against other decisions."""
    list(Label.objects.select_for_update().filter(pk__in=labels).values_list("pk"))
    standing: dict[int, list[LabelChange]] = {}
    for change in LabelChange.objects.filter(label__in=labels, undone_at=None).order_by("pk"):
        standing.setdefault(change.label_id, []).append(change)
    return standing


def _write(states: Mapping[_State, Sequence[int]]) -> None:
    for (review, probability, who, when), labels in states.items():
        Label.objects.filter(pk__in=labels).update(review=review, corrected_probability=probability,
                                                   reviewed_by=who, reviewed_at=when)
