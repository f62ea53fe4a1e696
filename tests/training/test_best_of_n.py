"""Best of n: the baseline that needs no training, and its place in the comparison at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import Evaluate, Lora, Scalarization
from training.dialogue import Dialogue
from training.judges.judge import Verdict
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.ppo import best_of_n
from training.reward.rewards import PrincipleRewards
from training.run.artifacts import read_json, write_json
from training.run.pipeline import plan
from training.stages import evaluate


class Longest:
    """A preference model that likes long answers."""

    names = ("length",)
    mean, std = torch.zeros(1), torch.ones(1)

    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> torch.Tensor:
        return torch.tensor([[float(len(response))] for response in responses])


CONSTRAINED = {"function": "constrained", "thresholds": {"toxicity": 0.5}}
REWARDS = PrincipleRewards(Longest(), {"length": 1.0}, Scalarization())


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> LanguageModel:
    return language_model.load(str(tiny_base), torch.device("cpu"))


def draw(base: LanguageModel, n: int) -> best_of_n.Best:
    return best_of_n.draw(base, PROMPTS, n, rollouts.Sampling(5), REWARDS, seed=0, on_batch=lambda done: None)


def test_the_bound_of_its_kl_worked_out_by_hand() -> None:
    assert best_of_n.kl_bound(1) == 0
    assert best_of_n.kl_bound(2) == pytest.approx(math.log(2) - 0.5)
    assert best_of_n.kl_bound(16) == pytest.approx(2.7726 - 0.9375, abs=1e-4)


def test_the_reward_chooses_among_n_answers_to_each_prompt(base: LanguageModel) -> None:
    best = draw(base, 8)
    assert len(best.responses) == len(PROMPTS)
    assert best.reward == pytest.approx(sum(map(len, best.responses)) / len(PROMPTS))
    assert best.reward > best.reward_of_all
    assert draw(base, 8) == best


def test_the_best_of_one_is_any_answer(base: LanguageModel) -> None:
    best = draw(base, 1)
    assert best.reward == best.reward_of_all


def test_the_first_of_n_is_not_the_answer_that_it_is_compared_with(base: LanguageModel) -> None:
    settings = Evaluate(max_new_tokens=5, temperature=1.0)
    compared = evaluate.answer(base, PROMPTS, settings, 0, Remembering(), done=0, adapted=False)
    assert draw(base, 1).responses != compared


def test_a_policy_answers_as_its_base(base: LanguageModel, tiny_base: Path) -> None:
    before = draw(base, 4)
    torch.manual_seed(5)
    policy = language_model.add_adapter(language_model.load(str(tiny_base), torch.device("cpu")), Lora(r=4))
    for parameter in language_model.trainable_parameters(policy):
        torch.nn.init.normal_(parameter, std=0.3)
    assert draw(policy, 4) == before


def test_progress_is_told_prompt_by_prompt_and_never_more_than_a_batch_is_drawn(base: LanguageModel) -> None:
    done: list[int] = []
    best_of_n.draw(base, PROMPTS, 32, rollouts.Sampling(2), REWARDS, seed=0, on_batch=done.append)
    assert done == [2, 4, 5]  # 64 answers at a time are two prompts


class LikesLong:
    """A judge that prefers the longer answer."""

    async def stream(self, requests: Any, listener: Any) -> None:
        for request in requests:
            a, b = len(request.item.a), len(request.item.b)
            listener.judged(request, Verdict(0.5 + (a > b) / 4 - (a < b) / 4, None, None, None, "", 0, ""))


def test_the_report_holds_it_beside_the_policy(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "make_stage_judge", lambda settings, spent: LikesLong())
    torch.manual_seed(1)
    language = language_model.add_adapter(language_model.load(str(tiny_base), torch.device("cpu")), Lora(r=4))
    language_model.save_adapter(language, tmp_path / "ppo" / "adapter")
    recipe = make_recipe(tiny_base, evaluate={"prompts": 5, "max_new_tokens": 5, "best_of": 4})
    inputs = ppo_inputs | {"ppo": tmp_path / "ppo"}
    reporter = Remembering()
    job = make_job(recipe, "evaluate", tmp_path, inputs, held_out=[{"prompt": prompt} for prompt in PROMPTS])
    evaluate.run(job, tmp_path / "run", reporter)
    report = read_json(tmp_path / "run" / "report.json")
    assert report["overall"]["ties"] == 5  # the adapter changes nothing
    best = report["best_of_n"]
    assert (best["n"], best["overall"]["n"], set(best["principles"])) == (4, 5, {"factuality", "toxicity"})
    assert best["kl"] == best_of_n.kl_bound(4) and best["reward"] > best["reward_of_all"]


@pytest.mark.parametrize(("summary", "multiplier", "warned"), [
    ({"multipliers": {"toxicity": 40.0}, "last": {"constraint/toxicity/multiplier": 39.0}}, 40.0, False),
    ({"last": {"constraint/toxicity/multiplier": 39.0}}, 39.0, False),  # of an earlier version
    ({"last": {}}, 1.0, True), (None, 1.0, True),
])
def test_constraints_are_scored_with_the_multipliers_of_the_training(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch,
    summary: dict[str, Any] | None, multiplier: float, warned: bool,
) -> None:
    monkeypatch.setattr(evaluate, "make_stage_judge", lambda settings, spent: LikesLong())
    scored: list[dict[str, float]] = []
    draw_best = best_of_n.draw

    def watched(*arguments: Any) -> best_of_n.Best:
        scored.append(arguments[4].constraints.multipliers)
        return draw_best(*arguments)

    monkeypatch.setattr(best_of_n, "draw", watched)
    language = language_model.add_adapter(language_model.load(str(tiny_base), torch.device("cpu")), Lora(r=4))
    language_model.save_adapter(language, tmp_path / "ppo" / "adapter")
    if summary is not None:
        write_json(tmp_path / "ppo" / "summary.json", summary)
    recipe = make_recipe(tiny_base, evaluate={"prompts": 2, "max_new_tokens": 3, "best_of": 2},
                         scalarization=CONSTRAINED)
    inputs = ppo_inputs | {"ppo": tmp_path / "ppo"}
    reporter = Remembering()
    job = make_job(recipe, "evaluate", tmp_path, inputs, held_out=[{"prompt": prompt} for prompt in PROMPTS])
    evaluate.run(job, tmp_path / "run", reporter)
    assert scored == [{"toxicity": pytest.approx(multiplier)}]
    assert ("multipliers_unknown" in reporter.warnings) is warned


def test_only_a_constrained_recipe_is_evaluated_anew(tiny_base: Path) -> None:
    settings = [next(stage for stage in plan(make_recipe(tiny_base, evaluate={"best_of": n}, scalarization=function))
                     if stage.kind == "evaluate").settings
                for n, function in ((2, {}), (0, CONSTRAINED), (2, CONSTRAINED))]
    assert ["multipliers" in each for each in settings] == [False, False, True]


def test_only_a_recipe_that_asks_for_it_reads_the_preference_models_at_the_end(tiny_base: Path) -> None:
    plain, asked = (next(stage for stage in plan(make_recipe(tiny_base, evaluate={"best_of": n}))
                         if stage.kind == "evaluate") for n in (0, 4))  # fmt: skip
    assert set(plain.inputs) == {"ppo"} and "scalarization" not in plain.settings
    assert set(asked.inputs) == {"ppo", "weights", "preference_model:factuality", "preference_model:toxicity"}
    assert asked.settings["rewarded"] == ["factuality", "toxicity"]
