"""Pairs to label, and the comparison at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import Lora
from training.errors import BadData
from training.judges.judge import PairQuestion, Verdict, verdict_from_orders
from training.models import language_model
from training.run.artifacts import Job, read_json, read_jsonl
from training.run.pipeline import pair_digest
from training.stages import evaluate, sample

ROWS: list[dict[str, Any]] = [{"prompt": prompt} for prompt in PROMPTS]


def sample_job(tmp_path: Path, tiny_base: Path, rows: list[dict[str, Any]] = ROWS, **changes: Any) -> Job:
    recipe = make_recipe(tiny_base, sample={"count": 8, "max_new_tokens": 5, "batch_size": 8} | changes)
    return make_job(recipe, "sample", tmp_path, prompts=rows)


def test_each_prompt_gets_two_different_answers(tmp_path: Path, tiny_base: Path) -> None:
    reporter = Remembering()
    sample.run(sample_job(tmp_path, tiny_base), tmp_path / "run", reporter)
    pairs = list(read_jsonl(tmp_path / "run" / "pairs.jsonl"))
    assert len(pairs) == 8
    assert [pair["prompt"] for pair in pairs] == (PROMPTS + PROMPTS)[:8]
    for pair in pairs:
        assert pair["a"] != pair["b"]
        assert pair["digest"] == pair_digest(pair["prompt"], pair["a"], pair["b"])
        assert pair["human"] is None
    assert reporter.progressed == [(4, 8), (8, 8)]
    assert reporter.metrics[1]["response/length"] > 0


def test_each_batch_of_prompts_draws_numbers_of_its_own(tmp_path: Path, tiny_base: Path) -> None:
    sample.run(sample_job(tmp_path, tiny_base, rows=[{"prompt": PROMPTS[0]}]), tmp_path / "run", Remembering())
    pairs = list(read_jsonl(tmp_path / "run" / "pairs.jsonl"))
    assert len(pairs) > 4, "two batches of four times the same prompt"


def test_a_restart_draws_the_same_pairs(tmp_path: Path, tiny_base: Path) -> None:
    job = sample_job(tmp_path, tiny_base)
    sample.run(job, tmp_path / "once", Remembering())
    sample.run(job, tmp_path / "twice", Remembering())
    assert (tmp_path / "once" / "pairs.jsonl").read_bytes() == (tmp_path / "twice" / "pairs.jsonl").read_bytes()


def test_a_policy_that_always_says_the_same_is_told_apart(tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(BadData, match="same answer twice"):
        sample.run(sample_job(tmp_path, tiny_base, temperature=1e-5), tmp_path / "run", Remembering())


def test_no_prompts_is_bad_data(tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(BadData, match="no prompts"):
        sample.run(sample_job(tmp_path, tiny_base, rows=[]), tmp_path / "run", Remembering())


class LikesLong:
    """A judge that prefers the longer answer, except that it will not speak of toxicity."""

    asked: list[PairQuestion]

    def __init__(self) -> None:
        self.asked = []

    async def stream(self, requests: Any, listener: Any) -> None:
        for request in requests:
            item = request.item
            self.asked.append(item)
            listener.judged(request, Verdict(None, None, None, None, "refused", 0, "") if item.principle == "toxicity"
                            else verdict_from_orders(
                                0.5 + (len(item.a) > len(item.b)) / 4 - (len(item.a) < len(item.b)) / 4, None, 0, ""))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> LikesLong:
    judge = LikesLong()
    monkeypatch.setattr(evaluate, "make_stage_judge", lambda settings, spent: judge)
    return judge


def evaluate_job(tmp_path: Path, tiny_base: Path, spread: float) -> Job:
    torch.manual_seed(1)
    language = language_model.add_adapter(language_model.load(str(tiny_base), torch.device("cpu")), Lora(r=4))
    for parameter in language_model.trainable_parameters(language):
        torch.nn.init.normal_(parameter, std=spread)
    language_model.save_adapter(language, tmp_path / "ppo" / "adapter")
    recipe = make_recipe(tiny_base)
    return make_job(recipe, "evaluate", tmp_path, {"ppo": tmp_path / "ppo"}, held_out=ROWS)


def test_the_report_holds_rates_intervals_and_examples(tmp_path: Path, tiny_base: Path, judge: LikesLong) -> None:
    reporter = Remembering()
    evaluate.run(evaluate_job(tmp_path, tiny_base, spread=0.3), tmp_path / "run", reporter)
    report = read_json(tmp_path / "run" / "report.json")
    overall, examples = report["overall"], report["examples"]
    longer = sum(len(e["policy"]) > len(e["base"]) for e in examples)
    even = sum(len(e["policy"]) == len(e["base"]) for e in examples)
    assert (overall["n"], overall["wins"], overall["ties"]) == (5, longer, even)
    assert overall["win_rate"] == (longer + even / 2) / 5
    assert overall["low"] <= overall["win_rate"] <= overall["high"]
    assert set(report["principles"]) == {"factuality", "toxicity"}
    assert [e["prompt"] for e in examples] == PROMPTS
    assert set(examples[0]["principles"]) == {"factuality", "toxicity"}
    assert reporter.metrics[1]["win_rate/overall"] == overall["win_rate"]


def test_every_answer_is_kept_with_its_verdicts(tmp_path: Path, tiny_base: Path, judge: LikesLong) -> None:
    """More than the report's examples: a hypervolume over many runs draws prompts from them."""
    evaluate.run(evaluate_job(tmp_path, tiny_base, spread=0.3), tmp_path / "run", Remembering())
    report, rows = read_json(tmp_path / "run" / "report.json"), list(read_jsonl(tmp_path / "run" / "answers.jsonl"))
    assert [row["prompt"] for row in rows] == PROMPTS
    for row, example in zip(rows, report["examples"], strict=True):
        assert (row["policy"], row["base"]) == (example["policy"], example["base"])
        assert row["verdicts"] == {"overall": example["overall"], **example["principles"]}


def test_the_judge_gets_the_wording_of_each_principle(tmp_path: Path, tiny_base: Path, judge: LikesLong) -> None:
    evaluate.run(evaluate_job(tmp_path, tiny_base, spread=0.3), tmp_path / "run", Remembering())
    by_principle = {item.principle: item.statement for item in judge.asked}
    assert set(by_principle) == {None, "factuality", "toxicity"}
    assert by_principle["factuality"]


def test_answers_the_judge_will_not_compare_are_warned_of(tmp_path: Path, tiny_base: Path, judge: LikesLong) -> None:
    reporter = Remembering()
    evaluate.run(evaluate_job(tmp_path, tiny_base, spread=0.3), tmp_path / "run", reporter)
    report = read_json(tmp_path / "run" / "report.json")
    same = sum(e["policy"] == e["base"] for e in report["examples"])
    assert report["principles"]["toxicity"]["n"] == same
    assert reporter.warnings == ["no_verdict"]


def test_an_adapter_that_changes_nothing_ties_with_its_base(tmp_path: Path, tiny_base: Path, judge: LikesLong) -> None:
    evaluate.run(evaluate_job(tmp_path, tiny_base, spread=0.0), tmp_path / "run", Remembering())
    report = read_json(tmp_path / "run" / "report.json")
    assert report["overall"]["win_rate"] == 0.5
    assert report["overall"]["ties"] == 5
    assert judge.asked == []
