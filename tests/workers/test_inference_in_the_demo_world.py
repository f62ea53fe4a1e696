"""The inference worker with the policies and preference models of the demo world itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from tests.workers.demo_run import NAMES, demo_run
from training.models.full_weights import save_model
from training.models.language_model import load, pick_device
from training.run.artifacts import write_json
from webapp.accounts.models import Team
from webapp.playground.stream import ChatSampling, Request, stream_key
from webapp.runs.models import Run
from workers import inference
from workers.loaded_models import Loaded

pytestmark = pytest.mark.once  # it computes, and stores nothing

ASK = [{"role": "user", "content": "What is the capital of Ister?"}]


@pytest.fixture
def run(team: Team, artifacts: Path) -> Run:
    return demo_run(team)


def chat(team: Team, run: Run, **changes: Any) -> list[dict[str, Any]]:
    policies = [{"stage": None, "sft": None, "base": "demo-world"},
                {"stage": run.stages.get(kind="ppo").pk, "sft": None, "base": "demo-world"}]
    asked = {"team": team.pk, "policies": policies, "dialogues": [ASK, ASK], "scorer": run.pk,
             "sampling": ChatSampling(max_new_tokens=24, seed=3)} | changes
    request = Request(**asked)
    inference.answer(request)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        return [json.loads(fields[b"event"]) for _, fields in client.xrange(stream_key(request.id))]


def test_base_and_tuned_policy_answer_side_by_side_and_are_scored(team: Team, run: Run) -> None:
    events = chat(team, run)
    assert events[-1] == {"kind": "finished", "cancelled": False}, events[-1]
    answers = {event["side"]: event["text"] for event in events if event["kind"] == "answer"}
    pieces = {side: "".join(event["text"] for event in events if event["kind"] == "piece" and event["side"] == side)
              for side in (0, 1)}
    assert all(answers[side].startswith(pieces[side].strip()) for side in (0, 1))
    assert answers[0] != answers[1], "the adapter of one is not on while the other speaks"
    rewards = next(event for event in events if event["kind"] == "rewards")
    assert [row["name"] for row in rewards["principles"]] == NAMES
    for side in (0, 1):
        parts = sum(row["parts"][side] for row in rewards["principles"])
        assert parts == pytest.approx(rewards["totals"][side], abs=1e-3), "the parts add up to the reward"
        mean = sum(row["scores"][side] for row in rewards["principles"]) / len(NAMES)
        assert mean == pytest.approx(rewards["totals"][side], abs=1e-3), "linear, weights alike"


def test_a_measure_that_is_a_reward_scores_answers_by_its_scale_and_a_gauge_does_not(
    team: Team, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a mean of 6 words and a deviation of 2, where fewer are better, 9 words are z = -1.5."""
    monkeypatch.setattr(inference, "_loaded", Loaded())
    measured = {"name": "brevity", "weight": 1.0, "statement": "", "measure": {"kind": "words", "toward": "low"}}
    run.recipe["principles"] = [measured | {"serves": "reward"}, run.recipe["principles"][0],
                                measured | {"name": "length", "serves": "gauge"}]
    run.save(update_fields=["recipe"])
    write_json(run.stages.get(kind="weights").folder / "weights.json", {
        "weights": {"brevity": 0.5, NAMES[0]: 0.5}, "scales": {"brevity": {"mean": 6.0, "std": 2.0}}})
    asked = Request(team=team.pk, policies=[], dialogues=[ASK, ASK], scorer=run.pk, sampling=ChatSampling())
    scored = inference.score(asked, ["The capital of Ister is the old town of Quill.", "It is Quill, my dear friend."])
    by_name = {row["name"]: row for row in scored["principles"]}
    assert list(by_name) == ["brevity", NAMES[0]]
    assert by_name["brevity"]["scores"] == [-2.0, 0.0] and by_name["brevity"]["parts"] == [-1.0, 0.0]


def test_a_measure_by_reference_answers_has_no_number_for_what_a_person_types(
    team: Team, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_loaded", Loaded())
    correct = {"name": "correct", "weight": 1.0, "statement": "", "serves": "reward",
               "measure": {"kind": "number", "answer_from": "data"}}
    run.recipe["principles"] = [correct, run.recipe["principles"][0]]
    run.save(update_fields=["recipe"])
    write_json(run.stages.get(kind="weights").folder / "weights.json", {
        "weights": {"correct": 0.5, NAMES[0]: 0.5}, "scales": {"correct": {"mean": 0.25, "std": 0.5}}})
    asked = Request(team=team.pk, policies=[], dialogues=[ASK, ASK], scorer=run.pk, sampling=ChatSampling())
    scored = inference.score(asked, ["It is Quill.", "It is 5."])
    measured, modelled = scored["principles"]
    assert (measured["scores"], measured["parts"]) == ([None, None], [0.0, 0.0])
    assert modelled["parts"] == scored["totals"]


def test_each_says_alone_what_it_says_beside_the_other(team: Team, run: Run) -> None:
    together = {event["side"]: event["text"] for event in chat(team, run) if event["kind"] == "answer"}
    base = {"stage": None, "sft": None, "base": "demo-world"}
    alone = [event for event in chat(team, run, policies=[base, base], scorer=None) if event["kind"] == "answer"]
    assert [event["text"] for event in alone] == [together[0]] * 2


def test_a_policy_of_which_every_weight_was_trained_answers_beside_its_base(
    team: Team, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_loaded", Loaded())
    before = {event["side"]: event["text"] for event in chat(team, run) if event["kind"] == "answer"}
    stage = run.stages.get(kind="ppo")
    shutil.rmtree(stage.folder / "adapter")
    policy = load("demo-world", pick_device("cpu"))
    for parameter in policy.model.parameters():
        parameter.data.mul_(1.3)
    save_model(policy, stage.folder / "model")
    events = chat(team, run)
    assert events[-1] == {"kind": "finished", "cancelled": False}, events[-1]
    answers = {event["side"]: event["text"] for event in events if event["kind"] == "answer"}
    assert answers[0] == before[0] and answers[1] not in (before[0], before[1])


def test_answers_are_scored_with_the_multipliers_that_the_training_ended_with(
    team: Team, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_loaded", Loaded())  # a run of another test had the same number
    first, bound = NAMES[0], NAMES[1]
    run.recipe["scalarization"] |= {"function": "constrained", "thresholds": {bound: 0.5}}
    run.save()
    write_json(run.stages.get(kind="ppo").folder / "summary.json", {"multipliers": {bound: 1000.0}})
    [rewards] = [event for event in chat(team, run) if event["kind"] == "rewards"]
    rows = {row["name"]: row for row in rewards["principles"]}
    for side in (0, 1):
        # With so large a multiplier the reward is all but the constrained principle's score over its threshold.
        assert rewards["totals"][side] == pytest.approx(rows[bound]["scores"][side] - 0.5, abs=0.02)
        assert abs(rows[first]["parts"][side]) < 0.02


def test_another_teams_run_does_not_score(other_team: Team, team: Team, run: Run) -> None:
    base = {"stage": None, "sft": None, "base": "demo-world"}
    events = chat(other_team, run, policies=[base, base])
    assert events[-1]["kind"] == "failed"
    assert "rewards" not in [event["kind"] for event in events]


def test_mixes_answer_beside_the_policies_that_they_are_of(team: Team, run: Run) -> None:
    tuned = {"stage": run.stages.get(kind="ppo").pk, "sft": None, "base": "demo-world"}
    base = tuned | {"stage": None}
    mixes = [tuned | {"parts": [{"stage": tuned["stage"], "weight": weight}]} for weight in (0.0, 1.0)]
    events = chat(team, run, policies=[base, tuned, *mixes], dialogues=[ASK] * 4)
    assert events[-1] == {"kind": "finished", "cancelled": False}, events[-1]
    answers = {event["side"]: event["text"] for event in events if event["kind"] == "answer"}
    assert answers[2] == answers[0] != answers[1] == answers[3]
    rewards = next(event for event in events if event["kind"] == "rewards")
    assert len(rewards["totals"]) == 4 and all(len(row["scores"]) == 4 for row in rewards["principles"])
    assert rewards["totals"][3] == pytest.approx(rewards["totals"][1], abs=1e-3)


def test_a_corner_of_a_conditioned_policy_is_the_adapter_of_its_principle(team: Team, run: Run) -> None:
    ppo = run.stages.get(kind="ppo")
    shutil.copytree(ppo.folder / "adapter", ppo.folder / "corners" / "toxicity" / "adapter")
    tuned = {"stage": ppo.pk, "sft": None, "base": "demo-world"}
    corner = tuned | {"corner": "toxicity"}
    mix = tuned | {"parts": [{"stage": ppo.pk, "corner": "toxicity", "weight": 1.0}]}
    events = chat(team, run, policies=[tuned, corner, mix], dialogues=[ASK] * 3)
    answers = {event["side"]: event["text"] for event in events if event["kind"] == "answer"}
    assert answers[0] == answers[1] == answers[2]


def test_a_policy_that_was_trained_in_full_is_no_part_of_a_mix(team: Team, run: Run) -> None:
    ppo = run.stages.get(kind="ppo")
    shutil.rmtree(ppo.folder / "adapter")
    (ppo.folder / "model").mkdir()
    mix = {"stage": ppo.pk, "sft": None, "base": "demo-world", "parts": [{"stage": ppo.pk, "weight": 1.0}]}
    last = chat(team, run, policies=[mix], dialogues=[ASK])[-1]
    assert last["kind"] == "failed" and "it has no adapter to mix" in last["cause"], last
