"""The page that mixes policies by sliders: positions, answers and their rewards, pins, and mixes that are saved."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webapp.accounts.models import Team, User
from webapp.playground import stream
from webapp.playground.models import PolicyMix
from webapp.playground.selectors import CannotMix, NotYours, policies_of
from webapp.playground.steering import MOST_PINNED, BadPosition, Steering, shares_of, steering_of
from webapp.runs.models import Run

FinishRun = Callable[..., Run]
PAGE = "/playground/steer/"


class Worker:
    """Takes the place of `stream.events`: answers each side with its number, rewards rising from side to side."""

    def __init__(self) -> None:
        self.requests: list[stream.Request] = []
        self.fails = False

    async def events(self, request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        self.requests.append(request)
        yield {"kind": "started"}
        if self.fails:
            yield {"kind": "failed", "cause": "The files of this policy no longer exist.", "remedy": "Choose another."}
            return
        sides = range(len(request.policies))
        for side in sides:
            yield {"kind": "answer", "side": side, "text": f"<i>answer {side}", "tokens": 2, "seconds": 0.1,
                   "ended": True}
        yield {"kind": "rewards", "totals": [0.5 * side for side in sides], "principles": [
            {"name": "toxicity", "scores": [1.0 * side for side in sides], "parts": [0.5 * side for side in sides]}]}
        yield {"kind": "finished", "cancelled": False}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    answering = Worker()
    monkeypatch.setattr(stream, "events", answering.events)
    return answering


@pytest.fixture
def pair(team: Team, finish_run: FinishRun) -> list[str]:
    return [f"tuned:{finish_run(team, name).pk}" for name in ("factual", "brief")]


def asked(pair: list[str], **changes: Any) -> dict[str, Any]:
    return {"p": pair, "w": ["30", "70"], "prompt": "What is the bird of Brisk?", "temperature": "0.7", "longest": "24",
            "seed": "5"} | changes


# Positions ------------------------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12).filter(lambda weights: sum(weights) > 1e-3))
def test_shares_sum_to_one_and_keep_the_ratios(weights: list[float]) -> None:
    shares = shares_of([str(weight) for weight in weights], len(weights))
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert shares[0] == pytest.approx(weights[0] / sum(weights), abs=1e-6)


@pytest.mark.parametrize(("weights", "message"), [
    (["0", "0"], "Every weight is 0"), (["1"], "There are 1 weights for 2 policies"), (["1", "-1"], "'-1' cannot be"),
    (["1", "much"], "'much' cannot be used"), (["1", "nan"], "'nan' cannot be"), (["1", "1e9"], "'1e9' cannot be"),
])
def test_weights_that_are_no_shares_are_refused(weights: list[str], message: str) -> None:
    with pytest.raises(BadPosition, match=message):
        shares_of(weights, 2)


def test_an_address_without_weights_places_the_sliders_in_the_middle() -> None:
    assert steering_of(QueryDict("p=tuned:1&p=tuned:2&p=tuned:1")) == Steering(("tuned:1", "tuned:2"), (0.5, 0.5))
    with pytest.raises(BadPosition, match="13 policies were chosen, and at most 12 are mixed"):
        steering_of(QueryDict("&".join(f"p={number}" for number in range(13))))


def test_the_oldest_pin_makes_room_and_none_is_kept_twice() -> None:
    steering = Steering(("a", "b"), (0.0, 1.0))
    for tenths in range(MOST_PINNED + 2):
        steering = Steering(("a", "b"), (tenths / 10, 1 - tenths / 10), steering.pinned).with_pin().with_pin()
    assert [shares[0] for shares in steering.pinned] == [0.2, 0.3, 0.4, 0.5]
    assert [shares[0] for shares in steering.without_pin(1).pinned] == [0.2, 0.4, 0.5]


# What can be mixed ----------------------------------------------------------------------------------------------------


def test_a_mix_is_described_by_ids_and_weights(team: Team, pair: list[str]) -> None:
    policies = policies_of(team.pk)
    first, second = (policies.find(key) for key in pair)
    assert first is not None and second is not None
    assert policies.mixed([(pair[0], 0.3), (pair[1], 0.7)]) == {
        "stage": first.ppo, "sft": None, "base": "demo-world",
        "parts": [{"stage": first.ppo, "weight": 0.3}, {"stage": second.ppo, "weight": 0.7}]}


def test_policies_of_other_bases_are_no_mix(team: Team, finish_run: FinishRun, pair: list[str]) -> None:
    other = finish_run(team, "elsewhere", base="org/model")
    with pytest.raises(CannotMix, match="“factual” and “elsewhere” have different bases, Demo world"):
        policies_of(team.pk).mixed([(pair[0], 1.0), (f"tuned:{other.pk}", 1.0)])


def test_a_policy_after_another_sft_is_no_mix(team: Team, finish_run: FinishRun, pair: list[str]) -> None:
    tuned = finish_run(team, "fine-tuned", sft=True)
    with pytest.raises(CannotMix, match="different bases"):
        policies_of(team.pk).mixed([(pair[0], 1.0), (f"tuned:{tuned.pk}", 1.0)])


@pytest.mark.parametrize("key", ["base:other", "tuned:999999", "mix:1", "corner:1/toxicity", ""])
def test_only_trained_policies_of_the_team_are_mixed(team: Team, pair: list[str], key: str) -> None:
    with pytest.raises(NotYours):
        policies_of(team.pk).mixed([(pair[0], 0.5), (key, 0.5)])


def test_the_base_takes_its_share_and_adds_nothing(team: Team, finish_run: FinishRun, pair: list[str]) -> None:
    finish_run(team, "elsewhere", base="org/model")
    policies = policies_of(team.pk)
    assert [part["weight"] for part in policies.mixed([("base:demo-world", 0.4), (pair[0], 0.6)])["parts"]] == [0.6]
    with pytest.raises(CannotMix, match="The mix is the base alone. Give a trained policy a weight."):
        policies.mixed([("base:demo-world", 1.0)])
    with pytest.raises(CannotMix, match="“factual” and “org/model .base.” have different bases"):
        policies.mixed([(pair[0], 0.5), ("base:org/model", 0.5)])


def test_a_mix_with_its_base_first_is_scored_by_the_trained_policys_run(
    owner_client: Client, team: Team, pair: list[str], worker: Worker,
) -> None:
    owner_client.post(PAGE, asked(["base:demo-world", pair[0]]))
    assert worker.requests[0].scorer == int(pair[0].partition(":")[2])
    mix = PolicyMix.objects.create(team=team, name="halfway", parts=[["base:demo-world", 0.5], [pair[0], 0.5]])
    policies = policies_of(team.pk)
    assert policies.find(mix.key) == policies.find(pair[0])
    assert policies.reference(mix.key)["parts"][0]["weight"] == 0.5


def test_the_corners_of_a_conditioned_run_are_policies_too(team: Team, finish_run: FinishRun) -> None:
    run = finish_run(team, "any")
    Run.objects.filter(pk=run.pk).update(recipe=run.recipe | {"ppo": {"conditioned": True}, "principles": [
        {"name": "detail", "weight": 1}, {"name": "conciseness"}, {"name": "toxicity", "weight": 0},
        {"name": "words", "serves": "gauge"}]})
    policies = policies_of(team.pk)
    keys = [choice.key for choice in policies.mixable["Demo world (base)"]]
    assert keys == [f"tuned:{run.pk}", f"corner:{run.pk}/detail", f"corner:{run.pk}/conciseness", "base:demo-world"]
    assert policies.reference(keys[1])["corner"] == "detail"
    assert policies.mixed([(keys[1], 0.2), (keys[2], 0.8)])["parts"] == [
        {"stage": policies.runs[0].ppo, "weight": 0.2, "corner": "detail"},
        {"stage": policies.runs[0].ppo, "weight": 0.8, "corner": "conciseness"}]
    with pytest.raises(NotYours):
        policies.reference(f"corner:{run.pk}/toxicity")


# The page -------------------------------------------------------------------------------------------------------------


def test_it_begins_with_a_choice_of_policies(owner_client: Client, pair: list[str]) -> None:
    page = owner_client.get(PAGE).content.decode()
    assert "Choose the policies to mix" in page and all(f'value="{key}"' in page for key in pair)
    assert 'type="range"' not in page


def test_without_a_policy_it_says_where_they_come_from(owner_client: Client) -> None:
    assert "No policy has been trained yet" in owner_client.get(PAGE).content.decode()


def test_an_address_places_the_sliders_and_asks_nothing(
    owner_client: Client, pair: list[str], worker: Worker,
) -> None:
    page = owner_client.get(PAGE, {"p": pair, "w": ["1", "3"], "prompt": "Hello?"}).content.decode()
    assert re.findall(r'type="range"[^>]* value="(\d+)"', page) == ["25", "75"]
    assert "Hello?" in page and not worker.requests


def test_the_answer_and_its_rewards_are_those_of_the_position(
    owner_client: Client, team: Team, pair: list[str], worker: Worker,
) -> None:
    page = owner_client.post(PAGE, asked(pair)).content.decode()
    request, = worker.requests
    assert request.team == team.pk and [part["weight"] for part in request.policies[0]["parts"]] == [0.3, 0.7]
    assert request.dialogues == [[{"role": "user", "content": "What is the bird of Brisk?"}]]
    assert (request.sampling.temperature, request.sampling.max_new_tokens, request.sampling.seed) == (0.7, 24, 5)
    assert request.scorer == int(pair[0].partition(":")[2])
    assert "&lt;i&gt;answer 0" in page and "<i>answer" not in page


def test_a_pinned_position_answers_beside_the_sliders(owner_client: Client, pair: list[str], worker: Worker) -> None:
    page = owner_client.post(PAGE, asked(pair, do_pin="1")).content.decode()
    assert re.findall(r'name="pin" value="([^"]*)"', page) == ["0.3,0.7"]
    moved = owner_client.post(PAGE, asked(pair, w=["90", "10"], pin=["0.3,0.7"])).content.decode()
    weights = [[part["weight"] for part in policy["parts"]] for policy in worker.requests[-1].policies]
    assert weights == [[0.9, 0.1], [0.3, 0.7]]
    assert "answer 1" in moved and "+0.50" in moved  # how far the pin's reward is from the sliders'
    removed = owner_client.post(PAGE, asked(pair, pin=["0.3,0.7", "1,0"], unpin="0")).content.decode()
    assert re.findall(r'name="pin" value="([^"]*)"', removed) == ["1.0,0.0"]


def test_what_fails_at_the_worker_is_said_with_a_way_out(
    owner_client: Client, pair: list[str], worker: Worker,
) -> None:
    worker.fails = True
    page = owner_client.post(PAGE, asked(pair)).content.decode()
    assert "The files of this policy no longer exist." in page and "Choose another." in page
    assert 'value="70"' in page, "the sliders stay where they are"


@pytest.mark.parametrize(("changes", "message"), [
    ({"w": ["0", "0"]}, "Every weight is 0"), ({"p": ["tuned:1", "tuned:999999"]}, "not available to your team"),
    ({"pin": ["x"]}, "weights for 2 policies"), ({"temperature": "hot"}, "Enter a number"),
    ({"longest": "5000"}, "less than or equal to 1024"), ({"prompt": "x" * 8001}, "at most 8000 characters"),
])
def test_bad_input_is_named_and_asks_nothing(
    owner_client: Client, pair: list[str], worker: Worker, changes: dict[str, Any], message: str,
) -> None:
    answer = owner_client.post(PAGE, asked(pair, **changes))
    assert answer.status_code == 200 and message in answer.content.decode()
    assert not worker.requests


def test_another_teams_policies_are_not_there(stranger_client: Client, pair: list[str], worker: Worker) -> None:
    page = stranger_client.post(PAGE, asked(pair)).content.decode()
    assert "not available to your team" in page and "factual" not in page and not worker.requests


def test_more_runs_are_no_more_queries(owner_client: Client, team: Team, finish_run: FinishRun, owner: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection, ) as caught:
            owner_client.get(PAGE)
        return len(caught)

    finish_run(team)
    before = queries()
    for number in range(5):
        run = finish_run(team, f"run {number}")
        PolicyMix.objects.create(team=team, name=f"mix {number}", created_by=owner, parts=[[f"tuned:{run.pk}", 1.0]])
    assert queries() == before


# Saved mixes ----------------------------------------------------------------------------------------------------------


def test_a_saved_mix_is_a_policy_to_chat_with(owner_client: Client, team: Team, pair: list[str]) -> None:
    answer = owner_client.post("/playground/mixes/", asked(pair, name="Factual but brief", w=["100", "0"]))
    mix = PolicyMix.objects.get()
    assert (mix.name, mix.parts, mix.team) == ("Factual but brief", [[pair[0], 1.0]], team)
    assert answer["Location"] == f"/playground/?policy=mix%3A{mix.pk}"
    policies = policies_of(team.pk)
    assert policies.choices[0].title == f"Factual but brief (mix {mix.pk})"
    assert policies.pair_for(None, mix.key) == ("base:demo-world", mix.key)
    assert policies.reference(mix.key)["parts"][0]["weight"] == 1.0
    assert policies.scorer(("base:demo-world", mix.key)) == policies.find(pair[0])
    page = owner_client.get(answer["Location"]).content.decode()
    assert f"?policy=mix%3A{mix.pk}" in page
    assert f'href="/playground/steer/?p=tuned%3A{pair[0][6:]}&amp;w=1.0"' in owner_client.get(PAGE).content.decode()


def test_a_mix_without_a_name_or_of_nothing_is_not_saved(owner_client: Client, pair: list[str]) -> None:
    for changes in ({"name": " "}, {"name": "x" * 201}, {"name": "mix", "w": ["0", "0"]}, {"name": "mix", "p": []},
                    {"name": "mix", "p": ["tuned:999999", pair[0]]}):
        answer = owner_client.post("/playground/mixes/", asked(pair, **changes), follow=True)
        assert answer.status_code == 200
    assert not PolicyMix.objects.exists()


def test_a_mix_is_deleted_after_a_question_and_stays_its_teams(
    owner_client: Client, stranger_client: Client, team: Team, pair: list[str],
) -> None:
    mix = PolicyMix.objects.create(team=team, name="mix", parts=[[pair[0], 1.0]])
    assert stranger_client.post(f"/playground/mixes/{mix.pk}/delete/").status_code == 404
    assert "Delete the mix “mix”?" in owner_client.post(f"/playground/mixes/{mix.pk}/delete/").content.decode()
    assert PolicyMix.objects.exists()
    owner_client.post(f"/playground/mixes/{mix.pk}/delete/", {"confirmed": "yes"})
    assert not PolicyMix.objects.exists()


def test_a_mix_of_a_deleted_run_says_so(owner_client: Client, team: Team, pair: list[str]) -> None:
    PolicyMix.objects.create(team=team, name="orphan", parts=[["tuned:999999", 1.0]])
    assert "a policy that was deleted" in owner_client.get(PAGE).content.decode()
    with pytest.raises(NotYours):
        policies_of(team.pk).reference(f"mix:{PolicyMix.objects.get().pk}")
