"""What is new since a cursor: each point once, whatever the order in which series grow."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError

from tests.webapp.runs.seeds import add_log, add_points, make_run
from webapp.accounts.models import Team, User
from webapp.runs.live import changes
from webapp.runs.live.changes import CursorExpired, position_from, position_now, read_changes
from webapp.runs.models import Run, Sample, Stage


@pytest.fixture
def run(team: Team, owner: User) -> tuple[Run, Stage]:
    made, stages = make_run(team, owner)
    return made, stages["ppo"]


def points(message: dict[str, Any] | None) -> dict[str, tuple[Any, list[int], list[float]]]:
    return {tag: (before, steps, values) for _, tag, before, steps, values, _ in (message or {}).get("points", [])}


def test_the_first_look_tells_the_state_and_the_second_nothing(run: tuple[Run, Stage]) -> None:
    position = position_now(run[0].pk)
    first = read_changes(run[0].pk, position)
    assert first is not None
    assert first["run"]["status"] == "running"
    assert {stage["status"] for stage in first["stages"]} == {"succeeded", "running", "waiting"}
    assert read_changes(run[0].pk, position) is None


def test_a_point_comes_once_with_the_step_before_it(run: tuple[Run, Stage]) -> None:
    made, ppo = run
    add_points(ppo, "kl/mean", [1, 2], [0.1, 0.2])
    position = position_now(made.pk)
    add_points(ppo, "kl/mean", [3], [0.3])
    assert points(read_changes(made.pk, position)) == {"kl/mean": (2, [3], [0.3])}
    add_points(ppo, "kl/mean", [4, 5], [0.4, 0.5])
    assert points(read_changes(made.pk, position)) == {"kl/mean": (3, [4, 5], [0.4, 0.5])}


def test_a_series_that_lags_behind_its_stage_loses_nothing(run: tuple[Run, Stage]) -> None:
    made, ppo = run
    position = position_now(made.pk)
    add_points(ppo, "reward/total", [1, 2], [1.0, 2.0])
    read_changes(made.pk, position)
    add_points(ppo, "time/step", [2], [9.0])
    assert points(read_changes(made.pk, position)) == {"time/step": (None, [2], [9.0])}


def test_many_small_chunks_are_one_delta(run: tuple[Run, Stage]) -> None:
    made, ppo = run
    position = position_now(made.pk)
    add_points(ppo, "kl/mean", list(range(1, 101)), [float(step) for step in range(1, 101)], size=1)
    before, steps, values = points(read_changes(made.pk, position))["kl/mean"]
    assert (before, steps) == (None, list(range(1, 101)))
    assert values == [float(step) for step in range(1, 101)]


def test_a_browser_gets_what_it_lacks(run: tuple[Run, Stage]) -> None:
    made, ppo = run
    add_points(ppo, "kl/mean", [1, 2, 3], [1.0, 2.0, 3.0])
    add_log(ppo, "one")
    add_log(ppo, "two")
    since = position_from({str(ppo.pk): [0, 1, {"kl/mean": 1}, -1]})
    message = read_changes(made.pk, since)
    assert points(message) == {"kl/mean": (1, [2, 3], [2.0, 3.0])}
    assert message is not None and [line[4] for line in message["log"]] == ["two"]


def test_what_was_there_before_is_not_told_again(run: tuple[Run, Stage]) -> None:
    made, ppo = run
    add_points(ppo, "kl/mean", [1], [0.1])
    add_log(ppo, "an old line")
    Sample.objects.create(stage=ppo, step=1, index=0, prompt="p", response="r", reward=0.5, rewards={})
    position = position_now(made.pk)
    add_log(ppo, "a new line")
    message = read_changes(made.pk, position)
    assert message is not None and [line[4] for line in message["log"]] == ["a new line"]
    assert not message.keys() & {"points", "samples"}


def test_a_rewind_voids_the_cursor(run: tuple[Run, Stage]) -> None:
    made, ppo = run
    position = position_now(made.pk)
    Stage.objects.filter(pk=ppo.pk).update(rewinds=1)
    with pytest.raises(CursorExpired):
        read_changes(made.pk, position)


def test_who_is_far_behind_takes_a_snapshot(run: tuple[Run, Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    made, ppo = run
    monkeypatch.setattr(changes, "MOST_POINTS", 10)
    position = position_now(made.pk)
    add_points(ppo, "kl/mean", list(range(11)), [0.0] * 11)
    with pytest.raises(CursorExpired):
        read_changes(made.pk, position)
    add_points(ppo, "loss", [1], [0.0])  # 12 points of two series: on average few
    with pytest.raises(CursorExpired):
        read_changes(made.pk, position)


def test_samples_of_one_step_that_come_apart_are_both_told(run: tuple[Run, Stage]) -> None:
    made, ppo = run
    position = position_now(made.pk)
    for index in range(2):
        key = Sample.objects.create(stage=ppo, step=10, index=index, prompt="?", response="!", reward=0, rewards={}).pk
        Stage.objects.filter(pk=ppo.pk).update(events_seq=index + 1)
        assert (read_changes(made.pk, position) or {})["samples"] == [(ppo.pk, 10, key)]
    Stage.objects.filter(pk=ppo.pk).update(events_seq=3)
    assert "samples" not in (read_changes(made.pk, position) or {}), "they were told"


@pytest.mark.parametrize("part", ["_points", "_log", "_samples"])
def test_a_read_that_fails_half_way_loses_nothing(
    run: tuple[Run, Stage], part: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state, the points, the line and the sample come with the next read, each once."""
    made, ppo = run
    position = position_now(made.pk)
    read_changes(made.pk, position)
    add_points(ppo, "kl/mean", [1], [0.5])
    add_log(ppo, "a line")
    Sample.objects.create(stage=ppo, step=10, index=0, prompt="p", response="r", reward=0.5, rewards={})
    Stage.objects.filter(pk=ppo.pk).update(status=Stage.Status.SUCCEEDED, events_seq=99)
    with monkeypatch.context() as patched:
        patched.setattr(changes, part, lambda *_: (_ for _ in ()).throw(OperationalError("the connection is closed")))
        with pytest.raises(OperationalError):
            read_changes(made.pk, position)
    message = read_changes(made.pk, position)
    assert message is not None
    assert points(message) == {"kl/mean": (None, [1], [0.5])}
    assert [line[4] for line in message["log"]] == ["a line"] and len(message["samples"]) == 1
    assert "succeeded" in {state["status"] for state in message["stages"]}
    assert read_changes(made.pk, position) is None


@pytest.mark.parametrize("since", [
    None, 3, [1], {"a": [0, 0, {}, 0]}, {"1": [0]}, {"1": [0, 0, {"x": "y"}, 0]}, {"1": [float("inf"), 0, {}, 0]},
    {"1": [0, float("nan"), {}, 0]}, {"1": [0, 0, {"x": 10**30}, 0]}, {10**30: [0, 0, {}, 0]}])
def test_a_cursor_that_makes_no_sense_is_refused(since: Any) -> None:
    with pytest.raises(ValueError, match="since takes"):
        position_from(since)


def test_a_number_that_is_none_is_null(run: tuple[Run, Stage]) -> None:
    made, ppo = run
    position = position_now(made.pk)
    add_points(ppo, "kl/mean", [1], [float("nan")])
    assert points(read_changes(made.pk, position))["kl/mean"][2] == [None]
