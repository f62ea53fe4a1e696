"""Reads what is new in a run since a cursor. Synchronous; the hub calls it in a thread.

A series is followed by the last step seen of each tag, a log by its sequence number, a stage's state by comparing.
`rewinds` counts how often a stage went back to a checkpoint: older cursors are invalid, and the viewer starts over from
a snapshot.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import Max, Q

from webapp.runs.eta import Span, estimates, spans_of
from webapp.runs.live.messages import Delta, Line, NewSample, Place, Points, RunState, StageState
from webapp.runs.models import LogLine, MetricChunk, Run, RunStage, Sample, Stage
from webapp.runs.progress import fraction, is_changing, run_fraction, run_sentence, run_state, stage_text
from webapp.runs.series.curves import join, listed, seconds
from webapp.runs.waiting import places

MOST_POINTS = 5_000  # a viewer that is further behind in a series gets a snapshot instead
MOST_LINES = 200
_LARGEST = 2**62


class CursorExpired(Exception):
    """The cursor is invalid or too old: the viewer needs a snapshot."""


@dataclass
class Cursor:
    """How far one stage has been read."""

    rewinds: int = 0
    log: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    events: int = -1
    sample: int = -1
    state: StageState | None = None


@dataclass
class Position:
    """How far a run has been read: one cursor per stage, and the state last sent."""

    stages: dict[int, Cursor] = field(default_factory=dict)
    run: RunState | None = None
    spans: dict[int, Span] = field(default_factory=dict)  # the stages' expected times, read when a status has changed
    statuses: list[str] = field(default_factory=list)

    def copy(self) -> Position:
        """An independent copy."""
        cursors = {stage: replace(cursor, tags=dict(cursor.tags)) for stage, cursor in self.stages.items()}
        return Position(cursors, self.run, self.spans, self.statuses)


def position_from(since: Any) -> Position:
    """Parse a position sent by a browser: {stage: [rewinds, log, {tag: step}, key of the newest sample]}.

    Raises:
        ValueError: it does not have that form.
    """
    position = Position()
    try:
        for stage, fields in dict(since).items():
            place = Place(*fields)
            steps = {str(tag): _whole_number(step) for tag, step in dict(place.tags).items()}
            position.stages[_whole_number(stage)] = Cursor(
                _whole_number(place.rewinds), _whole_number(place.log), steps, sample=_whole_number(place.sample))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("since takes {stage: [rewinds, log, {tag: step}, sample]}") from error
    return position


def _whole_number(number: Any) -> int:
    """Parse an integer that every database can store. Raises TypeError, ValueError or OverflowError otherwise."""
    value = int(number)
    if abs(value) > _LARGEST:
        raise OverflowError(f"a number of {value.bit_length()} bits")
    return value


def position_now(run_id: int) -> Position:
    """The current position of a run; earlier data is not read."""
    position = Position()
    stages = _stages(run_id)[1]
    for stage in stages:
        position.stages[stage.pk] = Cursor(stage.rewinds, events=stage.events_seq)
    ids = list(position.stages)
    for stage_id, tag, last in _last_steps(ids):
        position.stages[stage_id].tags[tag] = last
    for stage_id, last in LogLine.objects.filter(stage__in=ids).values_list("stage").annotate(Max("seq")):
        position.stages[stage_id].log = last
    for stage_id, last in Sample.objects.filter(stage__in=ids).values_list("stage").annotate(Max("pk")):
        position.stages[stage_id].sample = last
    return position


def read_changes(run_id: int, position: Position) -> Delta | None:
    """What is new since `position`, which is advanced; None if nothing is.

    The position advances only after everything has been read, so that after an error the next read returns it all.

    Raises:
        CursorExpired: a stage was rewound, or there is too much new data.
    """
    ahead = position.copy()
    message = _read(run_id, ahead)
    position.stages, position.run, position.spans, position.statuses = (
        ahead.stages, ahead.run, ahead.spans, ahead.statuses)
    return message if len(message) > 1 else None


def _read(run_id: int, position: Position) -> Delta:
    run, stages = _stages(run_id)
    if run is None:
        raise CursorExpired
    message: Delta = {"type": "delta"}
    fresh = []
    for stage in stages:
        cursor = position.stages.setdefault(stage.pk, Cursor(stage.rewinds))
        if cursor.rewinds != stage.rewinds:
            raise CursorExpired
        if cursor.events != stage.events_seq:
            fresh.append(stage.pk)
            cursor.events = stage.events_seq
        state = stage_state(run, stage)
        if state != cursor.state:
            cursor.state = state
            message.setdefault("stages", []).append(state)
    state_of_run = run_state_now(run, stages, position)
    if state_of_run != position.run:
        position.run = message["run"] = state_of_run
    if fresh:
        if points := _points(fresh, position):
            message["points"] = points
        if lines := _log(fresh, position):
            message["log"] = lines
        if samples := _samples(fresh, position):
            message["samples"] = samples
    return message


def run_state_now(run: Run, stages: list[Stage], position: Position) -> RunState:
    """The frequently changing values that the page shows of the run."""
    statuses = [stage.status for stage in stages]
    if statuses != position.statuses:
        position.statuses, position.spans = statuses, spans_of([run])
    is_waiting = run.status == Run.Status.RUNNING and Stage.Status.RUNNING not in statuses
    place = places().get(run.pk) if is_waiting else None
    estimate = estimates([run], {run.pk: stages}, position.spans).get(run.pk)
    return {"status": run.status, "sentence": run_sentence(run, stages), "progress": round(run_fraction(stages), 4),
            "state": run_state(run, stages, place).words, "eta": estimate.words if estimate else "",
            "live": is_changing(run, stages)}


def stage_state(run: Run, stage: Stage) -> StageState:
    """The frequently changing values that the page shows of a stage."""
    return {"id": stage.pk, "status": stage.status, "text": stage_text(run, stage),
            "fraction": round(fraction(stage), 4), "rewinds": stage.rewinds, "attempt": stage.attempt}


def _stages(run_id: int) -> tuple[Run | None, list[Stage]]:
    uses = list(RunStage.objects.filter(run=run_id).order_by("position").select_related("run", "stage").defer(
        "run__recipe", "run__file_digests", "stage__settings", "stage__details", "stage__summary", "stage__cause"))
    return (uses[0].run if uses else None), [use.stage for use in uses]


def _last_steps(stages: list[int]) -> Any:
    return MetricChunk.objects.filter(stage__in=stages).values_list("stage", "tag").annotate(Max("last_step"))


def _points(stages: list[int], position: Position) -> list[Points]:
    """The new points of each series that grew."""
    grown = Q()
    before: dict[tuple[int, str], int | None] = {}
    for stage, tag, last in _last_steps(stages):
        last_read = position.stages[stage].tags.get(tag)
        if last_read is None or last > last_read:
            before[stage, tag] = last_read
            grown |= Q(stage=stage, tag=tag, last_step__gt=-1 if last_read is None else last_read)
    if not before:
        return []
    chunks: dict[tuple[int, str], list[tuple[bytes, bytes, bytes]]] = defaultdict(list)
    rows = MetricChunk.objects.filter(grown).order_by("stage", "tag", "index")
    if sum(rows.values_list("n", flat=True)) > MOST_POINTS * max(len(before), 1):
        raise CursorExpired
    for stage, tag, *columns in rows.values_list("stage", "tag", "steps", "values", "times"):
        chunks[stage, tag].append((bytes(columns[0]), bytes(columns[1]), bytes(columns[2])))
    points = []
    for (stage, tag), parts in chunks.items():
        last_read, series = before[stage, tag], join(parts)
        new = slice(0 if last_read is None else int(series.steps.searchsorted(last_read, "right")), None)
        if len(series.steps[new]) > MOST_POINTS:
            raise CursorExpired
        position.stages[stage].tags[tag] = int(series.steps[-1])
        points.append(Points(stage, tag, last_read, series.steps[new].tolist(), listed(series.values[new]),
                             seconds(series.times[new])))
    return points


def _log(stages: list[int], position: Position) -> list[Line]:
    """The newest lines, oldest first."""
    unread = Q()
    for stage in stages:
        unread |= Q(stage=stage, seq__gt=position.stages[stage].log)
    fields = ("stage", "seq", "time", "level", "message", "code", "step")
    lines = list(LogLine.objects.filter(unread).order_by("-time", "-seq").values_list(*fields)[:MOST_LINES])
    for line in lines:
        position.stages[line[0]].log = max(position.stages[line[0]].log, line[1])
    return [Line(stage, seq, time.timestamp(), level, message[:2000], code, step)
            for stage, seq, time, level, message, code, step in reversed(lines)]


def _samples(stages: list[int], position: Position) -> list[NewSample]:
    """The steps of new samples; a page requests the texts when it shows them."""
    unread = Q()
    for stage in stages:
        unread |= Q(stage=stage, pk__gt=position.stages[stage].sample)
    new: dict[tuple[int, int], int] = {}
    for stage, step, pk in Sample.objects.filter(unread).order_by("pk").values_list("stage", "step", "pk"):
        new[stage, step] = position.stages[stage].sample = pk
    return [NewSample(stage, step, pk) for (stage, step), pk in new.items()]
