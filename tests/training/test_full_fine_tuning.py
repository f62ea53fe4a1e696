"""Every weight of the policy is trained: it learns, its reference stays what it was, and a stop changes no bit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import training
from tests.training.tiny_models import PROMPTS, Remembering, make_base, make_job, make_recipe
from training.config import Policy, as_yaml, check_recipe, parse_recipe
from training.errors import BadSettings, ModelUnavailable, OutOfMemory, StopRequested
from training.models import full_weights, language_model, rollouts
from training.models.full_weights import MasterWeights
from training.models.language_model import LanguageModel
from training.ppo import learner, parallel
from training.run.artifacts import Job, read_json
from training.stages import evaluate, ppo, runner, sft

CPU = torch.device("cpu")
ROWS = [{"prompt": prompt} for prompt in PROMPTS]
DIALOGUES = [{"prompt": prompt, "response": "The bird of Avela is the owl."} for prompt in PROMPTS] * 4


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


def logits(language: LanguageModel) -> torch.Tensor:
    ids, mask = rollouts.pad_prompts(language, PROMPTS, 4)
    with torch.no_grad():
        read: torch.Tensor = language.model(input_ids=ids, attention_mask=mask).logits
    return read


@pytest.fixture
def job_of(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> Any:
    """Makes a ppo job without LoRA, with some of its settings changed."""

    def make(precision: str = "fp32", **changes: Any) -> Job:
        recipe = make_recipe(tiny_base, policy={"base": str(tiny_base), "lora": None}, precision=precision, ppo=changes)
        return make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=ROWS)

    return make


# The recipe -----------------------------------------------------------------------------------------------------------


def test_a_recipe_says_null_and_older_ones_are_what_they_were(tiny_base: Path) -> None:
    assert Policy().model_dump(mode="json") == {"base": "demo-world", "lora": {"r": 16, "alpha": 32, "dropout": 0.0}}
    recipe = make_recipe(tiny_base, policy={"base": str(tiny_base), "lora": None})
    assert "\n  lora: null\n" in as_yaml(recipe)
    assert parse_recipe(as_yaml(recipe)) == recipe


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_algorithms_that_train_an_adapter_only_refuse_it(algorithm: str) -> None:
    with pytest.raises(BadSettings, match=f"'policy.lora' is null, and {algorithm} trains an adapter only; choose"):
        check_recipe({"principles": [{"name": "toxicity"}], "policy": {"lora": None}, "ppo": {"algorithm": algorithm}})


def test_several_processes_refuse_it(job_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    job = job_of()
    settings = learner.Ppo.model_validate(job.settings["ppo"])
    with pytest.raises(BadSettings, match="'policy.lora' is null, and 2 processes were started.*Start one process"):
        learner.load_learner(job, settings, None)


# The weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_reference_is_what_the_policy_was_and_the_policy_comes_back(precision: str, tiny_base: Path) -> None:
    base = language_model.load(str(tiny_base), CPU, precision)
    before = logits(base)
    policy = full_weights.train_every_weight(base)
    addresses = [parameter.data_ptr() for parameter in policy.model.parameters()]
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.3)
    trained = logits(policy)
    with language_model.reference(policy):
        assert torch.equal(logits(policy), before)
    assert torch.equal(logits(policy), trained) and not torch.equal(trained, before)
    assert [parameter.data_ptr() for parameter in policy.model.parameters()] == addresses
    with pytest.raises(KeyError), language_model.reference(policy):
        raise KeyError
    assert torch.equal(logits(policy), trained)


def test_steps_too_small_for_bf16_add_up() -> None:
    model = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    nn.init.ones_(model.weight)
    masters = MasterWeights(model)
    optimizer = torch.optim.SGD(masters.parameters, lr=1e-3)
    seen = []
    for _ in range(10):
        optimizer.zero_grad()
        model(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
        optimizer.step()
        masters.write_back()
        seen.append(float(model.weight.detach()))
    # Below 1 the numbers of bf16 are 1/256 apart: the first step alone is lost, ten of them are not.
    assert seen[0] == 1.0 and seen[-1] == pytest.approx(0.99, abs=1 / 512)
    assert float(masters.parameters[0].detach()) == pytest.approx(0.99)


def test_gradients_of_micro_batches_are_summed_in_fp32() -> None:
    model = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    [master] = MasterWeights(model).parameters
    for value in (1.0, 2**-9, 2**-9):
        model(torch.full((1, 1), value, dtype=torch.bfloat16)).sum().backward()
    assert master.grad is not None and master.grad.item() == 1 + 2**-8
    assert model.weight.grad is None, "no second gradient is kept"


def test_weights_in_fp32_are_the_models_own(tiny_base: Path) -> None:
    model = language_model.load(str(tiny_base), CPU).model
    assert all(map(lambda master, own: master is own, MasterWeights(model).parameters, model.parameters()))


# PPO ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.long
def test_it_learns_what_the_preference_models_reward(precision: str, job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    changes = {"steps": 30, "batch_size": 48, "epochs": 4, "minibatches": 1, "learning_rate": 0.001, "micro_batch": 48}
    ppo.run(job_of(precision, **changes, kl={"coefficient": 0.01, "adaptive": False}, no_eos_penalty=0),
            tmp_path / "run", reporter)
    first = sum(reporter.metrics[step]["reward/total"] for step in range(1, 6)) / 5
    last = sum(reporter.metrics[step]["reward/total"] for step in range(26, 31)) / 5
    assert last > first + 2 * reporter.metrics[1]["reward/total_std"] / math.sqrt(48)
    assert reporter.metrics[1]["kl/mean"] == pytest.approx(0, abs=1e-5)
    assert reporter.metrics[30]["kl/mean"] > 0.1


def test_the_result_is_a_whole_model_with_its_tokenizer(job_of: Any, tmp_path: Path, tiny_base: Path) -> None:
    ppo.run(job_of(), tmp_path / "run", Remembering())
    assert not (tmp_path / "run" / "adapter").exists()
    base, tuned = weights_of(tiny_base), weights_of(tmp_path / "run" / "model")
    assert base.keys() == tuned.keys()
    assert not any(torch.equal(base[name], tuned[name]) for name in base), "every weight was trained"
    language = language_model.load(tmp_path / "run" / "model", CPU)
    assert language.tokenizer.vocab_size and language.end_ids


@pytest.mark.parametrize(("precision", "changes"), [
    ("fp32", {"critic": "separate"}), ("bf16", {"gradient_checkpointing": True, "conflict_every": 2})])
def test_a_stopped_run_goes_on_to_the_same_bits(
        precision: str, changes: dict[str, Any], job_of: Any, tmp_path: Path) -> None:
    straight, first, second = Remembering(), Remembering(stop_after=2), Remembering()
    job = job_of(precision, **changes)
    ppo.run(job, tmp_path / "straight", straight)
    with pytest.raises(StopRequested):
        ppo.run(job, tmp_path / "pieces", first)
    assert not (tmp_path / "pieces" / "checkpoint" / "step-00000002" / "adapter").exists()
    ppo.run(job, tmp_path / "pieces", second)
    assert second.rewinds == [2]
    clocks = ("time/", "throughput/")
    assert first.metrics.keys() | second.metrics.keys() == straight.metrics.keys()
    for step, values in (first.metrics | second.metrics).items():
        assert {tag: repr(value) for tag, value in values.items() if not tag.startswith(clocks)} == {
            tag: repr(value) for tag, value in straight.metrics[step].items() if not tag.startswith(clocks)}
    assert equal(weights_of(tmp_path / "straight" / "model"), weights_of(tmp_path / "pieces" / "model"))
    heads = [load_file(tmp_path / name / "value_head.safetensors") for name in ("straight", "pieces")]
    assert equal(*heads)


def test_the_conflict_between_principles_is_measured(job_of: Any, tmp_path: Path) -> None:
    with_it, without = Remembering(), Remembering()
    ppo.run(job_of(conflict_every=2), tmp_path / "with", with_it)
    ppo.run(job_of(), tmp_path / "without", without)
    cosines = {step: values["conflict/factuality~toxicity"] for step, values in with_it.metrics.items()
               if "conflict/factuality~toxicity" in values}
    assert sorted(cosines) == [2, 4] and all(-1 <= cosine <= 1 and cosine for cosine in cosines.values())
    assert with_it.metrics[4]["reward/total"] == without.metrics[4]["reward/total"]


def test_when_memory_runs_out_an_adapter_is_the_first_remedy(job_of: Any) -> None:
    remedy = runner.describe(OutOfMemory("no memory", ""), job_of())["remedy"]
    assert remedy.startswith("Train an adapter instead of every weight, 'policy.lora:")
    assert remedy.endswith("Or: Lower 'ppo.micro_batch' from 2 to 1, then start it again.")


# What reads a tuned policy --------------------------------------------------------------------------------------------


def tuned_model(base: Path, folder: Path, change: float) -> LanguageModel:
    """A ppo stage's `model/` whose weights are the base's and some noise."""
    language = language_model.load(str(base), CPU)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in language.model.parameters():
            parameter.add_(change * torch.randn_like(parameter))
    full_weights.save_model(language, folder / "model")
    return language


class Undecided:
    """A judge without a preference."""

    async def stream(self, requests: Any, listener: Any) -> None:
        from training.judges.judge import Verdict

        for request in requests:
            listener.judged(request, Verdict(0.5, 0.5, 0.5, 0.0, "", 0, ""))


@pytest.mark.parametrize("change", [0.0, 0.2])
def test_the_evaluation_compares_with_what_the_training_began_with(
        change: float, tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "make_stage_judge", lambda settings, spent: Undecided())
    tuned = tuned_model(tiny_base, tmp_path / "ppo", change)
    recipe = make_recipe(tiny_base, policy={"base": str(tiny_base), "lora": None},
                         evaluate={"prompts": 5, "max_new_tokens": 5, "best_of": 3})
    job = make_job(recipe, "evaluate", tmp_path, ppo_inputs | {"ppo": tmp_path / "ppo"}, held_out=ROWS)
    evaluate.run(job, tmp_path / "run", Remembering())
    report = read_json(tmp_path / "run" / "report.json")

    def answers(language: LanguageModel) -> list[str]:
        settings = evaluate.Evaluate.model_validate(job.settings["evaluate"])
        return evaluate.answer(language, PROMPTS, settings, job.settings["seed"], Remembering(), done=0)

    base = language_model.load(str(tiny_base), CPU)
    assert [example["policy"] for example in report["examples"]] == answers(tuned)
    assert [example["base"] for example in report["examples"]] == answers(base)
    assert (answers(tuned) == answers(base)) == (change == 0)
    assert report["best_of_n"]["overall"]["n"] == 5


def test_the_library_loads_it_beside_its_base(tmp_path: Path, tiny_base: Path) -> None:
    tuned = tuned_model(tiny_base, tmp_path / "ppo", 0.2)
    policy = training.load_policy(tiny_base, adapter=tmp_path / "ppo" / "model", device="cpu")
    assert torch.equal(logits(policy), logits(tuned))
    with language_model.reference(policy):
        assert torch.equal(logits(policy), logits(language_model.load(str(tiny_base), CPU)))
    assert training.generate(policy, PROMPTS, 6) == training.generate(replace(tuned), PROMPTS, 6)


def test_a_model_of_another_base_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    tuned_model(make_base(tmp_path / "base"), tmp_path / "ppo", 0.0)
    demo = language_model.load("demo-world", CPU)
    with pytest.raises(ModelUnavailable, match="other weights than its base 'demo-world'"):
        full_weights.load_tuned(demo, full_weights.tuned_folder(tmp_path / "ppo"))


# Supervised fine-tuning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_fine_tuning_trains_every_weight_and_resumes(
        precision: str, dtype: torch.dtype, tmp_path: Path, tiny_base: Path) -> None:
    recipe = make_recipe(tiny_base, policy={"base": str(tiny_base), "lora": None}, precision=precision,
                         sft={"enabled": True, "batch_size": 4, "learning_rate": 0.005, "epochs": 3})
    job = make_job(recipe, "sft", tmp_path, dialogues=DIALOGUES)
    straight, first, second = Remembering(), Remembering(stop_after=6), Remembering()
    sft.run(job, tmp_path / "straight", straight)
    assert straight.metrics[15]["sft/loss"] < 0.7 * straight.metrics[1]["sft/loss"]
    with pytest.raises(StopRequested):
        sft.run(job, tmp_path / "pieces", first)
    sft.run(job, tmp_path / "pieces", second)
    assert second.rewinds == [6] and sorted(second.metrics) == list(range(7, 16))
    base, made = weights_of(tiny_base), weights_of(tmp_path / "straight" / "model")
    assert equal(made, weights_of(tmp_path / "pieces" / "model"))
    assert {tensor.dtype for tensor in made.values()} == {dtype}
    assert not any(torch.equal(base[name].to(dtype), made[name]) for name in base), "norms and embeddings too"
