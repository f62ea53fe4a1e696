"""As many runs of a sweep as allowed are under way, whatever is killed when; people pause, cancel and extend it."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.sweeps.made import end, make_sweep, run_of
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, Stage
from webapp.runs.services import run_pause, run_resume
from webapp.runs.tidying import run_delete
from webapp.sweeps import services
from webapp.sweeps.models import Sweep, SweepRun
from webapp.sweeps.selectors import SweepPage
from webapp.sweeps.services import (
    sweep_advance,
    sweep_cancel,
    sweep_change,
    sweep_continue,
    sweep_extend,
    sweep_pause,
    sweeps_advance,
)
from workers.reaping import reap

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_is_sent(sent: list[tuple[object, ...]]) -> None:
    """No test here needs a worker."""


def started(sweep: Sweep) -> list[int]:
    """The numbers of the entries that have a run."""
    return list(SweepRun.objects.filter(sweep=sweep, run__isnull=False).values_list("number", flat=True))


def under_way(sweep: Sweep) -> int:
    return SweepRun.objects.filter(sweep=sweep, run__status=Run.Status.RUNNING).count()


def words(sweep: Sweep) -> str:
    return SweepPage(Sweep.objects.get(pk=sweep.pk)).counts.words


# At most n ------------------------------------------------------------------------------------------------------------


def test_the_next_run_starts_when_one_ends(team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner)
    assert started(sweep) == [1]
    sweeps_advance()
    assert started(sweep) == [1], "the first is still under way"
    end(run_of(sweep, 1))
    reap()  # what every worker does every few seconds
    assert started(sweep) == [1, 2]


def test_two_at_a_time_are_never_three(team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner, at_a_time=2)
    assert started(sweep) == [1, 2]
    end(run_of(sweep, 2))
    for _ in range(3):
        sweeps_advance()
    assert started(sweep) == [1, 2, 3] and under_way(sweep) == 2


def test_all_end_and_then_nothing_more_is_asked(team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner, at_a_time=4)
    for number in range(1, 5):
        end(run_of(sweep, number))
    sweeps_advance()
    assert words(sweep) == "4 of 4 runs done" and SweepPage(sweep).badge.words == "done"
    assert not SweepPage(sweep).is_changing


def test_a_process_killed_while_it_starts_a_run_leaves_nothing_half_done(
        team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies between the run and the note of it: neither is kept, and another process starts it once."""
    sweep = make_sweep(team, owner)
    end(run_of(sweep, 1))
    create = services.run_create

    def killed(**arguments: object) -> Run:
        create(**arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(services, "run_create", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep_advance(sweep=sweep)
    assert Run.objects.of(team).count() == 1 and started(sweep) == [1]
    monkeypatch.setattr(services, "run_create", create)
    sweeps_advance()
    assert Run.objects.of(team).count() == 2 and started(sweep) == [1, 2]


def test_one_broken_sweep_does_not_keep_the_others_waiting(team: Team, owner: User) -> None:
    broken, other = make_sweep(team, owner, name="Broken"), make_sweep(team, owner, {"seeds": [1, 2]})
    Sweep.objects.filter(pk=broken.pk).update(recipe={"rubbish": 1})
    end(run_of(broken, 1))
    end(run_of(other, 1))
    sweeps_advance()
    assert started(other) == [1, 2]
    assert SweepRun.objects.filter(sweep=broken, status="refused").count() == 3


def test_a_paused_run_keeps_its_place(team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner)
    run_pause(run=run_of(sweep, 1), user=owner)
    sweeps_advance()
    assert started(sweep) == [1]
    run_resume(run=run_of(sweep, 1), user=owner)
    assert under_way(sweep) == 1


# Failures -------------------------------------------------------------------------------------------------------------


def test_a_failed_run_does_not_stop_the_others(team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner)
    end(run_of(sweep, 1), Run.Status.FAILED)
    sweeps_advance()
    assert started(sweep) == [1, 2]


def test_runs_that_need_a_failed_stage_wait_for_it(team: Team, owner: User) -> None:
    """Labels failed: to start the next run would buy the same failure again."""
    sweep = make_sweep(team, owner)
    run = run_of(sweep, 1)
    label = Stage.objects.filter(uses__run=run, kind="label")[0]
    Stage.objects.filter(pk=label.pk).update(status=Stage.Status.FAILED)
    Run.objects.filter(pk=run.pk).update(status=Run.Status.FAILED)
    sweeps_advance()
    assert started(sweep) == [1]
    assert Stage.objects.get(pk=label.pk).status == Stage.Status.FAILED
    texts = [row.sentence for row in SweepPage(sweep).rows[1:]]
    assert all(label.name in text and "Resume that run" in text for text in texts)
    run_resume(run=run, user=owner)
    end(run)
    sweeps_advance()
    assert started(sweep) == [1, 2]


def test_a_run_that_cannot_start_says_why_and_is_tried_again(
        team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.errors import DiskFull

    sweep, create = make_sweep(team, owner), services.run_create
    end(run_of(sweep, 1))

    def full(**arguments: object) -> Run:
        raise DiskFull("The disk is full.", "Free some space.")

    monkeypatch.setattr(services, "run_create", full)
    sweeps_advance()
    row = SweepPage(sweep).rows[1]
    assert (row.state.words, row.sentence) == ("could not start", "The disk is full. Free some space.")
    monkeypatch.setattr(services, "run_create", create)
    sweep_continue(sweep=sweep, user=owner)
    assert started(sweep) == [1, 2]


# What people do -------------------------------------------------------------------------------------------------------


def test_a_paused_sweep_starts_nothing_and_continues(team: Team, owner: User, owner_client: Client) -> None:
    sweep = make_sweep(team, owner)
    owner_client.post(reverse("sweeps:pause", args=[sweep.pk]))
    end(run_of(sweep, 1))
    sweeps_advance()
    assert started(sweep) == [1] and words(sweep).endswith("; paused, no further run starts")
    owner_client.post(reverse("sweeps:go_on", args=[sweep.pk]))
    assert started(sweep) == [1, 2]


def test_to_cancel_the_rest_asks_first_and_keeps_what_is_done(team: Team, owner: User, owner_client: Client) -> None:
    sweep = make_sweep(team, owner)
    end(run_of(sweep, 1))
    sweeps_advance()
    address = reverse("sweeps:cancel", args=[sweep.pk])
    assert "2 waiting and 1 running runs are cancelled" in owner_client.post(address).content.decode()
    assert started(sweep) == [1, 2] and under_way(sweep) == 1
    owner_client.post(address, {"confirmed": "1"})
    sweeps_advance()
    assert run_of(sweep, 1).status == Run.Status.SUCCEEDED and run_of(sweep, 2).status == Run.Status.CANCELLED
    assert started(sweep) == [1, 2] and words(sweep) == "1 of 4 runs done, 3 cancelled"


def test_more_at_a_time_start_at_once_and_fewer_stop_none(team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner)
    sweep_change(sweep=sweep, user=owner, name="Renamed", at_a_time=3)
    assert started(sweep) == [1, 2, 3] and Sweep.objects.get(pk=sweep.pk).name == "Renamed"
    sweep_change(sweep=sweep, user=owner, name="Renamed", at_a_time=1)
    assert under_way(sweep) == 3
    end(run_of(sweep, 1))
    sweeps_advance()
    assert under_way(sweep) == 2


def test_a_number_that_cannot_be_is_refused_in_words(team: Team, owner: User, owner_client: Client) -> None:
    sweep = make_sweep(team, owner)
    for number in ("0", "51", "-1", "x", "9" * 40):
        page = owner_client.post(reverse("sweeps:change", args=[sweep.pk]), {"name": "n", "at_a_time": number},
                                 follow=True)
        assert "Give a number from 1 to 50" in page.content.decode()
    assert Sweep.objects.get(pk=sweep.pk).at_a_time == 1


def test_to_extend_a_sweep_adds_what_it_lacks(team: Team, owner: User, owner_client: Client) -> None:
    sweep = make_sweep(team, owner)
    address = reverse("sweeps:extend", args=[sweep.pk])
    typed = {"way": "fields", "grid-path": ["ppo.kl.coefficient"], "grid-values": ["0.1, 0.2, 0.8"], "draw_seed": "0"}
    assert "ppo.kl.coefficient = 0.8" in owner_client.post(address, typed | {"check": "1"}).content.decode()
    owner_client.post(address, typed)
    assert [entry.varied["ppo.kl.coefficient"] for entry in sweep.entries.all()] == [0.05, 0.1, 0.2, 0.4, 0.8]
    refused = owner_client.post(address, typed)
    assert refused.status_code == 422 and "has each of these combinations" in refused.content.decode()
    assert len(Sweep.objects.get(pk=sweep.pk).over) == 2


def test_what_is_added_after_the_end_runs(team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner, {"seeds": [1]})
    end(run_of(sweep, 1))
    sweep_cancel(sweep=sweep, user=owner)
    assert sweep_extend(sweep=sweep, user=owner, over={"seeds": [1, 2, 3]}) == 2
    assert started(sweep) == [1, 2]


def test_a_deleted_run_leaves_its_line_and_is_not_started_again(team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner)
    end(run_of(sweep, 1))
    sweep_pause(sweep=sweep, user=owner)
    run_delete(run=run_of(sweep, 1))
    sweep_continue(sweep=sweep, user=owner)
    assert started(sweep) == [2]
    assert SweepPage(sweep).rows[0].state.words == "deleted"
