"""A run's progress in words and numbers: pure functions over stages, for the page, the list and the socket."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.utils import timezone

from webapp.accounts.durations import duration
from webapp.runs.models import Run, Stage

KINDS = {
    "sft": "Fine-tuning", "sample": "Sampling pairs", "label": "Labels", "draw": "Drawn labels",
    "preference_model": "Preference models",
    "weights": "Weights", "ppo": "PPO", "evaluate": "Evaluation",
}
# Rough shares of a run's time, for one bar over all of it; parallel stages of a kind share theirs.
SHARES = {"sft": 2.0, "sample": 1.0, "label": 1.0, "draw": 0.1, "preference_model": 2.0, "weights": 0.1, "ppo": 6.0,
          "evaluate": 1.0}

BADGES = {"running": "is-running", "succeeded": "is-done", "failed": "is-failed", "cancelled": "is-stopped",
          "stopped": "is-stopped", "queued": "is-queued", "waiting": "is-waiting"}
S = Stage.Status
LONG_WAIT = 0.1  # a larger share of a run's time than this, spent waiting, is said


class Shown(NamedTuple):
    """A state in words, and the class of its badge."""

    words: str
    badge: str


def left(seconds: float | None) -> str:
    """'3 min left', rounded so that it does not flicker."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(int(-(-seconds // 5) * 5), 5)} s left"
    return f"{duration(-(-seconds // 60) * 60)} left"


def elapsed(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None else ((end or timezone.now()) - start).total_seconds()


def count(stage: Stage) -> str:
    """'step 120 of 400', '320 of 600 pairs', or nothing before the first report."""
    if not stage.progress_total:
        return ""
    unit = stage.progress_unit or "step"
    if unit == "step":
        return f"step {stage.progress_done} of {stage.progress_total}"
    plural = unit if unit.endswith("s") else f"{unit}s"
    return f"{stage.progress_done} of {stage.progress_total} {plural}"


def fraction(stage: Stage) -> float:
    if stage.status == Stage.Status.SUCCEEDED:
        return 1.0
    return min(stage.progress_done / stage.progress_total, 1.0) if stage.progress_total else 0.0


def is_stopping(stage: Stage) -> bool:
    """Whether it was asked to stop and still writes its checkpoint."""
    return stage.status == S.RUNNING and stage.stop_requested


def stage_badge(run: Run, stage: Stage) -> str:
    if stage.status == S.RUNNING and (stage.stop_requested or run.status != Run.Status.RUNNING):
        return BADGES["stopped" if stage.stop_requested else "waiting"]
    return BADGES[stage.status]


def stage_text(run: Run, stage: Stage) -> str:
    """The text under a stage's name in its box."""
    if stage.status == Stage.Status.RUNNING:
        if stage.stop_requested:
            return "stopping"
        if run.status != Run.Status.RUNNING:
            return "at work for another run"
        return ", ".join(part for part in (count(stage), left(stage.eta_seconds)) if part) or "starting"
    if stage.status == Stage.Status.SUCCEEDED:
        return duration(elapsed(stage.started_at, stage.finished_at)) if stage.finished_at else "done"
    if stage.status == Stage.Status.FAILED:
        return "failed"
    return {"waiting": "waiting", "queued": "queued", "stopped": "stopped"}[stage.status]


def stage_title(stage: Stage) -> str:
    """'PPO', 'Labels: factuality'."""
    kind = KINDS.get(stage.kind, stage.kind)
    return f"{kind}: {stage.principle}" if stage.principle else kind


def run_fraction(stages: Sequence[Stage]) -> float:
    """The whole run's progress from 0 to 1."""
    many = {kind: sum(stage.kind == kind for stage in stages) for kind in KINDS}
    shares = [SHARES.get(stage.kind, 1.0) / max(many.get(stage.kind, 1), 1) for stage in stages]
    done = sum(share * fraction(stage) for share, stage in zip(shares, stages, strict=True))
    return done / sum(shares) if stages else 0.0


def is_changing(run: Run, stages: Sequence[Stage]) -> bool:
    """Whether the run's page may still change by itself."""
    return run.status == Run.Status.RUNNING or any(is_stopping(stage) for stage in stages)


def run_state(run: Run, stages: Sequence[Stage], place: int | None) -> Shown:
    """A run's status in a word or two; `place` is its place among all waiting runs (`waiting.places`)."""
    if run.status == Run.Status.CANCELLED and any(is_stopping(stage) for stage in stages):
        return Shown("stopping", BADGES["stopped"])
    if run.status == Run.Status.RUNNING:
        statuses = {stage.status for stage in stages}
        if run.paused:
            return Shown("paused", BADGES["stopped"])
        if S.QUEUED in statuses and S.RUNNING not in statuses:
            return Shown(f"queued, {ordinal(place)}" if place else "queued", BADGES["queued"])
    return Shown(run.get_status_display(), BADGES[run.status])


def ordinal(place: int) -> str:
    """A place in a queue: 'next', '2nd', '3rd', '11th'."""
    if place == 1:
        return "next"
    ending = "th" if place % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def run_sentence(run: Run, stages: Sequence[Stage]) -> str:
    """A run's status in one sentence; `stages` in the order of the pipeline."""
    if run.status == Run.Status.SUCCEEDED:
        return _done_sentence(run, stages)
    if run.status == Run.Status.FAILED:
        failed = next((stage for stage in stages if stage.status == Stage.Status.FAILED), None)
        return f"Failed at {stage_title(failed)}" if failed else "Failed"
    if run.status == Run.Status.CANCELLED:
        if stopping := [stage for stage in stages if is_stopping(stage)]:
            return f"{stage_title(stopping[0])} is writing its checkpoint"
        stopped = next((stage for stage in stages if stage.status != Stage.Status.SUCCEEDED), None)
        where = f" at {stage_title(stopped)}" if stopped else ""
        after = f", {count(stopped)}" if stopped and count(stopped) else ""
        return f"Cancelled{where}{after}"
    if run.paused:
        return _paused_sentence(run, stages)
    return _running_sentence(run, stages)


def _done_sentence(run: Run, stages: Sequence[Stage]) -> str:
    """'Done in 26 min, 12 min at work': the rest of it the run waited for workers and for other runs."""
    if not run.finished_at:
        return "Done"
    took = (run.finished_at - run.created_at).total_seconds()
    worked = seconds_at_work(run, stages)
    waited_long = took - worked >= max(LONG_WAIT * took, 10)
    return f"Done in {duration(took)}{f', {duration(worked)} at work' if waited_long else ''}"


def seconds_at_work(run: Run, stages: Sequence[Stage]) -> float:
    """Seconds of the run in which at least one of its stages ran; what was reused ran before."""
    spans = sorted((max(stage.started_at, run.created_at), stage.finished_at) for stage in stages
                   if stage.started_at and stage.finished_at and stage.finished_at > run.created_at)
    seconds, until = 0.0, run.created_at
    for began, ended in spans:
        seconds += max((ended - max(began, until)).total_seconds(), 0.0)
        until = max(until, ended)
    return seconds


def _paused_sentence(run: Run, stages: Sequence[Stage]) -> str:
    if any(stage.status == S.RUNNING for stage in stages):
        return f"{_running_sentence(run, stages)}. Nothing starts after it"
    following = next((stage for stage in stages if stage.status != S.SUCCEEDED), None)
    return f"Paused before {stage_title(following)}" if following else "Paused"


def _running_sentence(run: Run, stages: Sequence[Stage]) -> str:
    running = [stage for stage in stages if stage.status == Stage.Status.RUNNING]
    if not running:
        queued = next((stage for stage in stages if stage.status == Stage.Status.QUEUED), None)
        return f"{KINDS.get(queued.kind, queued.kind)}: waiting for a worker" if queued else "Starting"
    kind = running[-1].kind
    same = [stage for stage in stages if stage.kind == kind]
    if len(same) == 1:
        return f"{KINDS.get(kind, kind)}, {stage_text(run, same[0])}"
    done = sum(stage.status == Stage.Status.SUCCEEDED for stage in same)
    return f"{KINDS.get(kind, kind)}, {done} of {len(same)} done"
