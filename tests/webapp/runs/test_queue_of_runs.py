"""Runs that wait say so and where they stand; people move, pause and resume them; the pages follow by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module

import pytest
from django.apps import apps
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.webapp.runs.seeds import make_run
from webapp.accounts.models import Team, User
from webapp.runs.live.changes import Position, read_changes
from webapp.runs.models import Run, Stage
from webapp.runs.page.selectors import run_rows, running_now
from webapp.runs.progress import ordinal
from webapp.runs.services import run_cancel, run_move, run_pause
from webapp.runs.waiting import places, takeable, team_order

S = Stage.Status
GPU = Stage.Queue.GPU


@pytest.fixture
def waiting(team: Team, owner: User, sent: list[tuple[object, ...]]) -> Callable[..., Run]:
    """A run of which one stage is queued."""

    def make(name: str, of: Team = team, until: str = "ppo") -> Run:
        run, stages = make_run(of, owner, name=name, until=until)
        Stage.objects.filter(uses__run=run, status=S.RUNNING).update(status=S.QUEUED)
        return run

    return make


@pytest.fixture
def four(team: Team, owner: User, waiting: Callable[..., Run]) -> list[Run]:
    """The first is at work, three wait."""
    return [make_run(team, owner, name="first")[0], *(waiting(name) for name in ("second", "third", "fourth"))]


def shown(team: Team) -> dict[str, str]:
    """What the list says of each run, by name."""
    runs = list(Run.objects.of(team).select_related("created_by"))
    return {row.run.name: row.state.words for row in run_rows(team, runs)}


def upcoming() -> list[str]:
    """The names of the runs in the order in which free workers take their stages."""
    return [use.run.name for use in takeable(GPU).select_related("run")]


def badge(client: Client, run: Run) -> str:
    match = re.search(r'run-status"><span class="badge[^>]*>([^<]+)<', client.get(f"/runs/{run.pk}/").content.decode())
    assert match
    return match.group(1)


def test_a_run_that_waits_says_so_and_its_place(owner_client: Client, team: Team, four: list[Run]) -> None:
    assert shown(team) == {"first": "running", "second": "queued, next", "third": "queued, 2nd",
                           "fourth": "queued, 3rd"}
    assert [badge(owner_client, run) for run in four[:3]] == ["running", "queued, next", "queued, 2nd"]
    page = owner_client.get("/runs/").content.decode()
    assert "queued, 2nd" in page and "PPO: waiting for a worker" in page


@pytest.mark.parametrize("place, words", [(1, "next"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"),
                                          (21, "21st"), (22, "22nd"), (113, "113th")])
def test_places_have_english_endings(place: int, words: str) -> None:
    assert ordinal(place) == words


def test_runs_of_other_teams_are_not_shown_but_count(
        owner_client: Client, stranger_client: Client, team: Team, other_team: Team,
        waiting: Callable[..., Run]) -> None:
    waiting("theirs", of=other_team)
    ours = waiting("ours")

    assert shown(team) == {"ours": "queued, 2nd"} and shown(other_team) == {"theirs": "queued, next"}
    assert "theirs" not in owner_client.get("/runs/").content.decode()
    for verb in ("pause", "move", "resume", "cancel"):
        assert stranger_client.post(f"/runs/{ours.pk}/{verb}/", {"to": "first"}).status_code == 404
        assert stranger_client.post(f"/runs/{ours.pk}/{verb}/").status_code == 404
        assert owner_client.get(f"/runs/{ours.pk}/{verb}/").status_code == 405


def test_those_that_wait_for_other_workers_are_not_in_the_way(waiting: Callable[..., Run]) -> None:
    trains, labels = waiting("trains"), waiting("labels", until="label")

    assert places() == {trains.pk: 1, labels.pk: 1}


def test_moving_a_run_up_changes_what_starts_next(owner_client: Client, team: Team, four: list[Run]) -> None:
    assert upcoming() == ["second", "third", "fourth"]

    answer = owner_client.post(f"/runs/{four[3].pk}/move/", {"to": "up", "back": "/runs/?q=f"})

    assert answer.headers["Location"] == "/runs/?q=f", "back to the list as it was"
    assert upcoming() == ["second", "fourth", "third"]
    assert shown(team)["fourth"] == "queued, 2nd"
    page = owner_client.post(f"/runs/{four[3].pk}/move/", {"to": "first"}, follow=True).content.decode()
    assert f"Run {four[3].pk} goes first now." in page
    assert upcoming() == ["fourth", "second", "third"]
    owner_client.post(f"/runs/{four[3].pk}/move/", {"to": "down"})
    page = owner_client.post(f"/runs/{four[3].pk}/move/", {"to": "down"}, follow=True).content.decode()
    assert f"Run {four[3].pk} comes after run {four[1].pk} now." in page
    assert upcoming() == ["second", "fourth", "third"], "it stood before the run at work, then after it"
    page = owner_client.post(f"/runs/{four[3].pk}/move/", {"to": "sideways"}, follow=True).content.decode()
    assert "cannot be moved" in page and upcoming() == ["second", "fourth", "third"]


def test_a_team_trades_its_own_places_only(
        team: Team, other_team: Team, owner: User, waiting: Callable[..., Run]) -> None:
    for number, of in enumerate((team, other_team, team, other_team, team)):
        waiting(f"{'ours' if of == team else 'theirs'} {number}", of=of)
    last = Run.objects.get(name="ours 4")

    ours = [run.pk for run in Run.objects.of(team).order_by("pk")]
    assert run_move(run=last, user=owner, to="first") == [ours[2], ours[0], ours[1]]

    assert upcoming() == ["ours 4", "theirs 1", "ours 0", "theirs 3", "ours 2"]
    assert run_move(run=last, user=owner, to="up")[0] == last.pk, "it is the first already"


def test_a_new_run_comes_after_all_that_were_moved(team: Team, owner: User, waiting: Callable[..., Run]) -> None:
    earlier, later = waiting("earlier"), waiting("later")
    run_move(run=later, user=owner, to="up")

    waiting("new")

    assert upcoming() == ["later", "earlier", "new"] and team_order(team)[-1] not in {earlier.pk, later.pk}


def test_a_paused_run_starts_nothing_and_lets_the_others_go_first(
        owner_client: Client, team: Team, four: list[Run], sent: list[tuple[object, ...]],
        django_capture_on_commit_callbacks: Callable[..., object]) -> None:
    owner_client.post(f"/runs/{four[1].pk}/pause/")
    owner_client.post(f"/runs/{four[1].pk}/pause/")

    assert upcoming() == ["third", "fourth"]
    assert shown(team) == {"first": "running", "second": "paused", "third": "queued, next",
                                "fourth": "queued, 2nd"}
    page = owner_client.get(f"/runs/{four[1].pk}/").content.decode()
    assert "Paused before PPO" in page and "Resume" in page

    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(f"/runs/{four[1].pk}/resume/")
    assert upcoming() == ["second", "third", "fourth"], "in its old place"
    assert ("workers.run_next", ("gpu",), "gpu") in sent, "the message for it came while it was paused"


def test_a_stage_at_work_goes_on_when_its_run_is_paused(team: Team, owner: User, four: list[Run]) -> None:
    assert run_pause(run=four[0], user=owner)

    assert four[0].stages.filter(status=S.RUNNING, stop_requested=False).count() == 1
    assert shown(team)["first"] == "paused"
    sentence = running_now(team).sentence  # type: ignore[union-attr]
    assert sentence == "PPO, starting. Nothing starts after it"


def test_cancelling_a_paused_run_and_resuming_it_does_not_leave_it_paused(
        team: Team, owner: User, waiting: Callable[..., Run], sent: list[tuple[object, ...]]) -> None:
    run = waiting("once paused")
    run_pause(run=run, user=owner)
    run_cancel(run=run, user=owner)
    run.refresh_from_db()
    assert (run.status, run.paused) == (Run.Status.CANCELLED, False)
    assert not run_pause(run=run, user=owner), "it is over"
    assert run_move(run=run, user=owner, to="up") == []


def test_resuming_a_run_that_failed_while_it_was_paused_is_one_step(
        owner_client: Client, team: Team, owner: User, waiting: Callable[..., Run]) -> None:
    run = waiting("failed while paused")
    run.stages.filter(status=S.QUEUED).update(status=S.FAILED, cause="No memory.")
    Run.objects.filter(pk=run.pk).update(status=Run.Status.FAILED, paused=True)

    owner_client.post(f"/runs/{run.pk}/resume/")

    assert shown(team) == {"failed while paused": "queued, next"}


def test_stages_from_before_the_queues_are_told_theirs(team: Team) -> None:
    def kept(kind: str, judge: str = "") -> Stage:
        return Stage.objects.create(team=team, identity=f"{kind}{judge}", name=kind, kind=kind,
                                    settings={"judge": {"kind": judge}} if judge else {})

    stages = [kept("label", "openai"), kept("label", "rule"), kept("label", "local"), kept("ppo"), kept("weights")]
    import_module("webapp.runs.migrations.0009_order_of_runs").say_queues(apps, None)

    assert [Stage.objects.get(pk=stage.pk).queue for stage in stages] == ["io", "io", "gpu", "gpu", "gpu"]


def test_the_ring_shows_what_is_at_work_and_counts_the_rest(
        owner_client: Client, team: Team, owner: User, four: list[Run]) -> None:
    run_move(run=four[3], user=owner, to="first")
    frame = owner_client.get("/runs/running/").content.decode()
    assert "first: PPO, starting" in frame and '+3<span class="only-wide"> queued' in frame
    assert 'href="/runs/?status=running"' in frame, "the way to the rest"

    run_pause(run=four[2], user=owner)
    assert '+3<span class="only-wide"> (2 queued, 1 paused)' in owner_client.get("/runs/running/").content.decode()
    Run.objects.exclude(pk=four[1].pk).update(status=Run.Status.SUCCEEDED)
    frame = owner_client.get("/runs/running/").content.decode()
    assert "queued, next" in frame and "All runs under way" not in frame
    Run.objects.update(status=Run.Status.SUCCEEDED)
    assert owner_client.get("/runs/running/").content.decode().strip() == ""


def test_the_list_shows_those_that_wait(owner_client: Client, four: list[Run]) -> None:
    rows = owner_client.get("/runs/?status=queued").context["rows"]
    assert [row.run.name for row in rows] == ["fourth", "third", "second"]


def test_the_list_loads_itself_again_while_something_runs_and_then_stops(
        owner_client: Client, four: list[Run]) -> None:
    page = owner_client.get("/runs/?q=f").content.decode()
    assert 'hx-get="/runs/rows/?q=f" hx-trigger="every 3s"' in page
    Run.objects.update(status=Run.Status.SUCCEEDED)

    rows = owner_client.get("/runs/rows/?q=f").content.decode()

    assert rows.count("<tr") == 2 and "done" in rows and "hx-trigger" not in rows and "<html" not in rows


def test_more_runs_that_wait_take_no_more_queries(
        team: Team, four: list[Run], django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for count in (1, 4):
        runs = list(Run.objects.of(team).select_related("created_by").order_by("pk")[:count])
        with django_assert_num_queries(9):
            run_rows(team, runs)
        with django_assert_num_queries(5):
            running_now(team)
        Run.objects.filter(pk=four[0].pk).update(name="still first")


def test_a_place_that_changes_is_sent_to_an_open_page(team: Team, owner: User, four: list[Run]) -> None:
    position = Position()
    message = read_changes(four[3].pk, position)
    assert message and message["run"]["state"] == "queued, 3rd" and message["run"]["live"]
    assert read_changes(four[3].pk, position) is None

    run_move(run=four[3], user=owner, to="first")

    message = read_changes(four[3].pk, position)
    assert message and message["run"]["state"] == "queued, next" and "stages" not in message


def test_a_cancelled_run_is_stopping_until_its_checkpoint_is_written(
        owner_client: Client, team: Team, owner: User, four: list[Run]) -> None:
    run, position = four[0], Position()
    read_changes(run.pk, position)
    run_cancel(run=run, user=owner)

    message = read_changes(run.pk, position)
    assert message and message["run"]["state"] == "stopping" and message["run"]["live"]
    assert [stage["text"] for stage in message["stages"]] == ["stopping"]
    page = owner_client.get(f"/runs/{run.pk}/").content.decode()
    assert badge(owner_client, run) == "stopping" and "PPO is writing its checkpoint" in page
    assert "step is-running" not in page and "badge is-running" not in page, "nothing pulses"

    Stage.objects.filter(uses__run=run, status=S.RUNNING).update(status=S.STOPPED)
    message = read_changes(run.pk, position)
    assert message and message["run"]["state"] == "cancelled" and not message["run"]["live"]
    page = owner_client.get(f"/runs/{run.pk}/").content.decode()
    assert badge(owner_client, run) == "cancelled" and 'id="live" role="status" hidden' in page


def test_a_stage_that_another_run_keeps_is_not_stopping(
        owner_client: Client, team: Team, owner: User, sent: list[tuple[object, ...]]) -> None:
    run, stages = make_run(team, owner, name="one")
    make_run(team, owner, name="another", share=stages)
    run_cancel(run=run, user=owner)

    page = owner_client.get(f"/runs/{run.pk}/").content.decode()

    assert badge(owner_client, run) == "cancelled"
    assert "at work for another run" in page and "step is-running" not in page


