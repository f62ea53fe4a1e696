"""A finished run says how long it took, and how much of that it was at work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from webapp.runs.models import Run, Stage
from webapp.runs.progress import run_sentence, seconds_at_work

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def stage(began: float | None, ended: float | None) -> Stage:
    return Stage(kind="ppo", name="ppo", status=Stage.Status.SUCCEEDED,
                 started_at=None if began is None else at(began), finished_at=None if ended is None else at(ended))


def done(minutes: float) -> Run:
    run = Run(status=Run.Status.SUCCEEDED, finished_at=at(minutes))
    run.created_at = NOON
    return run


@pytest.mark.parametrize(("spans", "minutes"), [
    ([(0, 4), (4, 10)], 10),
    ([(14, 18), (18, 26)], 12),  # waited 14 minutes for other runs
    ([(0, 10), (2, 5), (8, 12)], 12),  # labels run beside each other: a minute counts once
    ([(5, 6), (1, 2)], 2),
    ([(-30, -20), (3, 4)], 1),  # the first was computed by an earlier run
    ([(-5, 5)], 5),  # another run had begun it
    ([(None, None), (3, None)], 0),
    ([], 0),
])
def test_minutes_at_work(spans: list[tuple[float | None, float | None]], minutes: float) -> None:
    assert seconds_at_work(done(26), [stage(*span) for span in spans]) == 60 * minutes


def test_a_run_that_waited_long_says_what_of_its_time_was_work() -> None:
    assert run_sentence(done(26), [stage(14, 18), stage(18, 26)]) == "Done in 26 min, 12 min at work"


@pytest.mark.parametrize("ended", [26, 23.5])
def test_a_run_that_hardly_waited_says_its_time_alone(ended: float) -> None:
    assert run_sentence(done(26), [stage(0, ended)]) == "Done in 26 min"


def test_a_few_seconds_of_waiting_are_no_news() -> None:
    assert run_sentence(done(0.5), [stage(0.1, 0.45)]) == "Done in 30 s"


def test_a_run_whose_every_stage_was_reused_took_no_work_worth_a_word() -> None:
    assert run_sentence(done(0.05), [stage(-10, -5)]) == "Done in 3 s"
