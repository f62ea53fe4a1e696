"""How long a whole run still takes: by hand for small cases, and against the demo's recorded durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from tests.webapp.runs.seeds import make_run
from training.config import shipped_recipe
from training.run.pipeline import StagePlan, plan
from webapp.accounts.models import Team, User
from webapp.runs import eta
from webapp.runs.eta import Estimate, Past, Span, estimate, expected, left_of, rounded, schedule
from webapp.runs.models import Stage
from webapp.runs.scheduling import queue_of

S = Stage.Status
NOW = datetime(2026, 11, 27, 12, tzinfo=timezone.get_default_timezone())


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eta.timezone, "now", lambda: NOW)


def stage(pk: int, kind: str, status: str = S.WAITING, principle: str = "", **fields: Any) -> Stage:
    return Stage(pk=pk, kind=kind, status=status, principle=principle, queue=queue_of(kind, {}), **fields)


def at_work(pk: int, kind: str, started: float, done: int = 0, total: int = 0, left: float | None = None,
            principle: str = "") -> Stage:
    """A stage that was started so many seconds ago."""
    return stage(pk, kind, S.RUNNING, principle, started_at=NOW - timedelta(seconds=started), progress_done=done,
                 progress_total=total, eta_seconds=left)


def exactly(seconds: float) -> Span:
    return Span(seconds, seconds, seconds)


# By hand ----------------------------------------------------------------------------------------------------------


def test_models_take_turns_labels_run_beside_and_training_waits_for_all() -> None:
    stages = [stage(1, "label", principle="a"), stage(2, "label", principle="b"),
              stage(3, "preference_model", principle="a"), stage(4, "preference_model", principle="b"),
              stage(5, "ppo"), stage(6, "evaluate")]
    seconds = {1: 5.0, 2: 30.0, 3: 10.0, 4: 10.0, 5: 60.0, 6: 7.0}

    # Labels of a: 0-5, of b: 0-30. Model a: 5-15, model b: 30-40, PPO 40-100, evaluation 100-107.
    assert schedule(stages, seconds) == 107.0
    # With quick labels the models take turns on one worker: 5-15, 15-25; PPO 25-85, evaluation 85-92.
    assert schedule(stages, seconds | {2: 5.0}) == 92.0


def test_models_that_are_at_work_at_once_share_what_is_left() -> None:
    stages = [at_work(1, "preference_model", 4, principle="a"), at_work(2, "preference_model", 4, principle="b"),
              stage(3, "preference_model", principle="c"), stage(4, "ppo")]
    # Two workers: free after 6 s and 8 s; the third model 6-16, PPO from 16 on.
    assert schedule(stages, {1: 6.0, 2: 8.0, 3: 10.0, 4: 20.0}) == 36.0


def test_a_report_counts_the_more_the_further_the_stage_is() -> None:
    usual = Span(100.0, 80.0, 120.0)
    # A quarter done: 25 % of the reported 40 s and 75 % of three quarters of 100 s.
    assert left_of(at_work(1, "ppo", 20, 15, 60, left=40.0), usual) == (66.25, 0.25 * 40 + 0.75 * 60, 77.5)
    assert left_of(at_work(1, "ppo", 20), usual) == (80.0, 60.0, 100.0), "nothing is reported yet"
    assert left_of(at_work(1, "ppo", 500), usual) == (5.0, 4.0, 6.0), "it takes longer than any before it"
    assert left_of(stage(1, "ppo"), usual) == usual
    assert left_of(at_work(1, "ppo", 20, 30, 60, left=40.0), None) == (40.0, 30.0, 50.0), "40 s, 25 % either way"
    assert left_of(at_work(1, "ppo", 20), None) is None


def test_twice_the_steps_take_twice_the_time_and_another_model_says_nothing() -> None:
    def ppo(steps: int, base: str = "demo-world") -> dict[str, Any]:
        return {"policy": {"base": base}, "device": "cpu", "ppo": {"steps": steps, "batch_size": 64}}

    past = [Past("ppo", ppo(60), 50.0), Past("ppo", ppo(60), 70.0), Past("ppo", ppo(120), 90.0),
            Past("evaluate", ppo(60), 1.0)]
    spans = expected([(1, "ppo", ppo(120)), (2, "ppo", ppo(60, "a-larger-model"))], past)

    assert spans[1] == Span(100.0, 90.0, 140.0), "the median of 100, 140 and 90"
    assert spans[2] is None
    assert expected([(1, "ppo", ppo(60))], past[:1])[1] == (50.0, 35.0, 65.0), "one stage: 30 % either way"


def test_preference_models_that_wait_take_as_long_as_the_one_at_work() -> None:
    first, *rest = [at_work(1, "preference_model", 4, 4, 10, left=6.0, principle="a"),
                    stage(2, "preference_model", S.QUEUED, "b"), stage(3, "preference_model", S.QUEUED, "c")]

    left = estimate([first, *rest], {})

    assert left is not None and left.left.seconds == pytest.approx(6 + 10 + 10) and not left.unknown


def test_the_words_say_how_sure_it_is() -> None:
    assert Estimate(Span(540, 420, 720)).words == "about 9 min left, likely 7 to 12 min"
    assert Estimate(Span(540, 420, 720), at_work=False).text == "about 9 min of work left"
    assert Estimate(Span(50, 35, 130)).words == "about 50 s left, likely 35 s to 2 min"
    assert Estimate(Span(120, 119, 121)).words == "about 2 min left"
    unsure = Estimate(Span(33, 30, 40), ("PPO", "evaluation"))
    assert unsure.words == "at least 35 s left, not counting PPO and evaluation, which nothing is known of yet"
    assert [rounded(seconds) for seconds in (1, 58, 89, 3599, 3700, 8000)] == [
        "5 s", "1 min", "1 min", "1 h", "1 h", "2 h 15 min"]
    assert estimate([stage(1, "ppo")], {}) is None, "nothing is known"
    assert estimate([at_work(1, "sample", 9), stage(2, "weights"), stage(3, "ppo")], {}) is None, "of a file only"
    assert estimate([stage(1, "ppo", S.SUCCEEDED)], {}) is None, "nothing is left"


# Against what was recorded ---------------------------------------------------------------------------------------

# Seconds from start to end of the stages of two demo runs, one after the other, on two cores with other work on them.
RECORDED: tuple[dict[str, float], ...] = (
    {"sample": 15.5, "label:factuality": 2.2, "label:toxicity": 2.3, "label:sycophancy": 2.4, "label:conciseness": 2.5,
     "preference_model:factuality": 25.2, "preference_model:toxicity": 19.3, "preference_model:sycophancy": 22.6,
     "preference_model:conciseness": 24.7, "weights": 1.2, "ppo": 109.9, "evaluate": 2.0},
    {"sample": 6.4, "label:factuality": 3.5, "label:toxicity": 3.5, "label:sycophancy": 3.6, "label:conciseness": 3.4,
     "preference_model:factuality": 24.3, "preference_model:toxicity": 20.2, "preference_model:sycophancy": 18.0,
     "preference_model:conciseness": 20.4, "weights": 1.1, "ppo": 92.2, "evaluate": 3.5},
)


def timetable(seconds: Mapping[str, float]) -> list[tuple[StagePlan, float, float]]:
    """Each stage of the demo with its start and end: labels at once, the rest one after another."""
    rows, now, labels = [], 0.0, 0.0
    for item in plan(shipped_recipe("demo")):
        start = labels if item.kind == "label" else now
        end = start + seconds[item.name]
        rows.append((item, start, end))
        now = max(now, end)
        labels = now if item.kind == "sample" else labels
    return rows


def as_at(moment: float, rows: Sequence[tuple[StagePlan, float, float]]) -> list[Stage]:
    """The stages as the database shows them at a moment; the last report is up to a second old."""
    stages = []
    for pk, (item, start, end) in enumerate(rows):
        made = Stage(pk=pk, kind=item.kind, principle=item.principle or "", queue=queue_of(item.kind, item.settings),
                     status=S.SUCCEEDED if end <= moment else S.RUNNING if start <= moment else S.WAITING,
                     started_at=NOW - timedelta(seconds=moment - start))
        if made.status == S.RUNNING and moment - start > 2:
            reported = (moment - start) - 1
            made.progress_done, made.progress_total = round(100 * reported / (end - start)), 100
            made.eta_seconds = (end - start) - reported
        stages.append(made)
    return stages


def test_from_a_tenth_of_the_demo_on_the_estimate_is_within_30_percent() -> None:
    earlier, now = (timetable(seconds) for seconds in RECORDED)
    past = [Past(item.kind, item.settings, end - start) for item, start, end in reversed(earlier)]
    end_of_run = now[-1][2]
    errors = {}
    for percent in range(10, 96):
        moment = percent / 100 * end_of_run
        ended = [Past(item.kind, item.settings, end - start) for item, start, end in now if end <= moment]
        open_stages = [(pk, item.kind, item.settings) for pk, (item, _, end) in enumerate(now) if end > moment]
        spans = {pk: span for pk, span in expected(open_stages, [*reversed(ended), *past]).items() if span}
        left = estimate(as_at(moment, now), spans)
        assert left is not None and not left.unknown
        assert left.left.low <= left.left.seconds <= left.left.high
        errors[percent] = left.left.seconds / (end_of_run - moment) - 1
    assert max(map(abs, errors.values())) < 0.3, errors


def test_without_an_earlier_run_it_says_what_it_leaves_out_and_is_never_far_too_high() -> None:
    now = timetable(RECORDED[0])
    end_of_run = now[-1][2]
    for percent in range(10, 96):
        moment = percent / 100 * end_of_run
        ended = [Past(item.kind, item.settings, end - start) for item, start, end in now if end <= moment]
        open_stages = [(pk, item.kind, item.settings) for pk, (item, _, end) in enumerate(now) if end > moment]
        left = estimate(as_at(moment, now), {pk: span for pk, span in expected(open_stages, ended).items() if span})
        assert left is None or left.left.seconds < 1.3 * (end_of_run - moment) + 2, percent
        assert left is None or ("evaluation" in left.unknown) == (moment < now[-1][1] + 2), percent


# On the pages ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_page_and_the_list_say_how_long_the_run_takes(
        owner_client: Client, team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    _, done = make_run(team, owner, until="nothing", name="an earlier one")
    run, stages = make_run(team, owner, name="now")
    for of_run in (done, stages):
        settings = {item.name: item.settings for item in plan(shipped_recipe("demo"))}
        for name, made in of_run.items():
            Stage.objects.filter(pk=made.pk).update(settings=settings[name])
    start = timezone.now() - timedelta(hours=1)
    Stage.objects.filter(pk=done["ppo"].pk).update(started_at=start, finished_at=start + timedelta(minutes=10))
    Stage.objects.filter(pk=done["evaluate"].pk).update(started_at=start, finished_at=start + timedelta(minutes=2))
    Stage.objects.filter(pk=stages["ppo"].pk).update(
        started_at=timezone.now() - timedelta(minutes=5), progress_done=30, progress_total=60, eta_seconds=300)

    page = owner_client.get(f"/runs/{run.pk}/").content.decode()

    assert "About 7 min left, likely" in page, "5 minutes of PPO and 2 of evaluation"
    assert "About 7 min left" in owner_client.get("/runs/").content.decode()
    assert "about 7 min left" in strip_tags(owner_client.get("/runs/running/").content.decode())
