"""A run that a check of labels or preference models stopped: its page says why and offers three ways out."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.webapp.runs.seeds import make_run
from training.config import read_exactly, shipped_recipe
from training.run.pipeline import identities, plan
from webapp.accounts.models import Team, User
from webapp.principles.models import Principle
from webapp.runs.models import Run, Stage

DIGESTS = {"prompts": "p", "held_out": "h"}


def stopped(team: Team, owner: User, name: str, kind: str, until: str) -> tuple[Run, Stage]:
    run, stages = make_run(team, owner, recipe=shipped_recipe("demo"), until=until, status=Run.Status.FAILED)
    Stage.objects.filter(pk=stages[name].pk).update(status=Stage.Status.FAILED, failure_kind=kind, details="Traceback",
                                                    cause="The judge contradicts itself.", remedy="Ask another judge.")
    return run, stages[name]


def test_the_card_of_a_judge_that_contradicts_itself_has_three_ways_out(
        team: Team, owner: User, owner_client: Client) -> None:
    run, _ = stopped(team, owner, "label:toxicity", "order flips", "label")
    page = owner_client.get(f"/runs/{run.pk}/").content.decode()
    principle = Principle.objects.of(team).get(name="toxicity")
    assert "The judge contradicts itself." in page and "Ask another judge." in page and "Traceback" not in page
    assert f'action="/runs/{run.pk}/go-on/"' in page and "Go on all the same" in page
    assert f'href="/runs/new/?clone={run.pk}#section-judge">Another judge' in page
    assert f'href="/principles/{principle.pk}/">Another wording' in page
    assert f'action="/runs/{run.pk}/resume/"' not in page  # it would stop at once, at the same check
    assert 'id="section-judge"' in owner_client.get(f"/runs/new/?clone={run.pk}").content.decode()


def test_models_no_better_than_a_coin_lead_to_all_principles(team: Team, owner: User, owner_client: Client) -> None:
    run, _ = stopped(team, owner, "weights", "at chance", "weights")
    page = owner_client.get(f"/runs/{run.pk}/").content.decode()
    assert "Go on all the same" in page and 'href="/principles/">Another wording' in page


@pytest.mark.parametrize(("name", "kind", "until", "setting"), [
    ("label:toxicity", "order flips", "label", "judge.most_flips"),
    ("weights", "at chance", "weights", "preference_model.stop_at_chance")])
def test_going_on_turns_off_that_check_and_changes_no_stage(
        name: str, kind: str, until: str, setting: str, team: Team, owner: User, owner_client: Client) -> None:
    run, stage = stopped(team, owner, name, kind, until)
    before = read_exactly(run.recipe)
    page = owner_client.post(f"/runs/{run.pk}/go-on/", follow=True).content.decode()
    assert f"{setting} no longer stops it" in page and "Go on all the same" not in page
    run.refresh_from_db()
    stage.refresh_from_db()
    after = read_exactly(run.recipe)
    off = (after.judge.most_flips == 1, not after.preference_model.stop_at_chance)
    assert off == (kind == "order flips", kind == "at chance")
    assert run.status == Run.Status.RUNNING and stage.status != Stage.Status.FAILED
    assert identities(plan(after), DIGESTS) == identities(plan(before), DIGESTS)


def test_a_failure_of_another_kind_is_resumed_and_nothing_is_turned_off(
        team: Team, owner: User, owner_client: Client) -> None:
    run, _ = stopped(team, owner, "label:toxicity", "disk full", "label")
    page = owner_client.get(f"/runs/{run.pk}/").content.decode()
    assert "Go on all the same" not in page and f'action="/runs/{run.pk}/resume/"' in page
    before = run.recipe
    owner_client.post(f"/runs/{run.pk}/go-on/")
    run.refresh_from_db()
    assert run.recipe == before and run.status == Run.Status.RUNNING


def test_a_stranger_cannot_go_on(team: Team, owner: User, stranger_client: Client) -> None:
    run, _ = stopped(team, owner, "label:toxicity", "order flips", "label")
    assert stranger_client.post(f"/runs/{run.pk}/go-on/").status_code == 404
    assert Run.objects.get(pk=run.pk).status == Run.Status.FAILED


def test_the_form_asks_for_both_bounds(owner_client: Client) -> None:
    page = owner_client.get("/runs/new/").content.decode()
    assert 'name="judge.most_flips" value="0.6"' in page
    assert "Largest share of order flips" in page and "Stop if no better than a coin" in page
    assert 'name="preference_model.stop_at_chance" value="true" checked' in page
