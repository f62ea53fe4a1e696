"""What the evaluation asks a judge is written down as it comes, bought once, and kept to the budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.judge_moods import answer
from tests.training.scripted_server import ScriptedServer, failure, serving
from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import JudgeSettings, Lora, Recipe, shipped_recipe
from training.errors import BudgetSpent, StopRequested
from training.judges.addresses import AddressGuard
from training.judges.judge import PairQuestion, Verdict
from training.judges.openai_judge import OpenAIJudge
from training.judges.verdict_ledger import VerdictLedger, buy_verdicts
from training.models import language_model
from training.run.artifacts import read_json
from training.run.jobs import runtime_of
from training.stages import evaluate

ITEMS = [PairQuestion([{"role": "user", "content": f"Question {number}?"}], "Short.", "A longer answer.", "shorter")
         for number in range(10)]


def nothing(*_: Any) -> None: ...


def buy(server: ScriptedServer, path: Path, look: Any = nothing, **changes: Any) -> list[Verdict]:
    settings = JudgeSettings.model_validate({"kind": "openai", "model": "m", "base_url": server.base_url,
                                             "concurrency": 1, **changes})
    ledger = VerdictLedger(path, settings)
    try:
        judge = OpenAIJudge(settings, "", AddressGuard(("127.0.0.1",)), ledger.spent)
        return buy_verdicts(judge, ITEMS, ledger, nothing, look, nothing)
    finally:
        ledger.close()


def stop_after(server: ScriptedServer, requests: int) -> Any:
    def look() -> None:
        if len(server.requests) >= requests:
            raise StopRequested
    return look


def asked(server: ScriptedServer) -> list[str]:
    return [body["messages"][0]["content"] for body in server.requests]


def test_a_verdict_on_another_wording_or_principle_is_bought_for_itself(tmp_path: Path) -> None:
    ledger = VerdictLedger(tmp_path / "verdicts.jsonl", JudgeSettings(kind="openai", model="m"))
    ledger.add(ITEMS[0], Verdict(0.9, 0.9, None, None, "", 1, "m"))
    ledger.close()
    assert ledger.verdict(ITEMS[0]) is not None
    assert ledger.verdict(ITEMS[0]._replace(statement="shorter than ever")) is None
    assert ledger.verdict(ITEMS[0]._replace(principle="conciseness")) is None


@pytest.mark.parametrize("requests", [1, 2, 7, 8])
def test_a_stop_is_heard_between_two_requests_and_nothing_is_bought_again(requests: int, tmp_path: Path) -> None:
    with serving(lambda body, _: answer(body)) as server:
        with pytest.raises(StopRequested):
            buy(server, tmp_path / "verdicts.jsonl", stop_after(server, requests))
        assert len(server.requests) <= requests + 1
        verdicts = buy(server, tmp_path / "verdicts.jsonl")
        assert len(asked(server)) == len(set(asked(server))) == 20, "each order of each pair once"
    assert {(verdict.error, round(verdict.probability or 0, 3)) for verdict in verdicts} == {("", 0.9)}


def test_a_line_that_a_kill_tore_is_asked_again_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    with serving(lambda body, _: answer(body)) as server:
        buy(server, path)
        path.write_bytes(path.read_bytes()[:-9])
        buy(server, path)
        assert len(server.requests) == 21, "the second order of the last pair"
        buy(server, path)
        assert len(server.requests) == 21


def test_what_failed_is_asked_again(tmp_path: Path) -> None:
    def script(body: dict[str, Any], _: int) -> Any:
        return failure(400, "not now") if "Question 4?" in body["messages"][0]["content"] else answer(body)

    with serving(script) as server:
        assert buy(server, tmp_path / "verdicts.jsonl")[4].probability is None
        server.script = lambda body, _: answer(body)
        assert buy(server, tmp_path / "verdicts.jsonl")[4].probability is not None


def test_another_judge_or_question_has_verdicts_of_its_own(tmp_path: Path) -> None:
    with serving(lambda body, _: answer(body)) as first_server, serving(lambda body, _: answer(body)) as second_server:
        buy(first_server, tmp_path / "verdicts.jsonl")
        buy(second_server, tmp_path / "verdicts.jsonl")
        buy(first_server, tmp_path / "verdicts.jsonl", few_shot=1)
        assert (len(first_server.requests), len(second_server.requests)) == (40, 20)


def test_the_budget_holds_over_a_stop(tmp_path: Path) -> None:
    with serving(lambda body, _: answer(body)) as server:
        with pytest.raises(StopRequested):
            buy(server, tmp_path / "verdicts.jsonl", stop_after(server, 6), budget_calls=9)
        with pytest.raises(BudgetSpent, match="9 of 9 answers"):
            buy(server, tmp_path / "verdicts.jsonl", budget_calls=9)
        assert len(server.requests) == 9
        assert all(verdict.probability is not None for verdict in buy(server, tmp_path / "verdicts.jsonl"))
        assert len(server.requests) == 20


# The stage ------------------------------------------------------------------------------------------------------------


def test_an_evaluation_that_was_stopped_goes_on_with_the_verdicts_it_has(tmp_path: Path, tiny_base: Path) -> None:
    torch.manual_seed(1)
    language = language_model.add_adapter(language_model.load(str(tiny_base), torch.device("cpu")), Lora(r=4))
    for parameter in language_model.trainable_parameters(language):
        torch.nn.init.normal_(parameter, std=0.3)
    language_model.save_adapter(language, tmp_path / "ppo" / "adapter")
    with serving(lambda body, _: answer(body)) as server:
        recipe = make_recipe(tiny_base, judge={"kind": "openai", "model": "m", "base_url": server.base_url})
        rows = [{"prompt": prompt} for prompt in PROMPTS]
        job = make_job(recipe, "evaluate", tmp_path, {"ppo": tmp_path / "ppo"}, held_out=rows)
        job = job.model_copy(update={"runtime": {"judge": {"concurrency": 1}}})
        with pytest.raises(StopRequested):
            evaluate.run(job, tmp_path / "run", Remembering(stop_after=6))
        before = len(server.requests)
        evaluate.run(job, tmp_path / "run", Remembering())
        assert 0 < before < len(server.requests)
        assert len(asked(server)) == len(set(asked(server)))
    report = read_json(tmp_path / "run" / "report.json")
    assert report["overall"]["n"] == 5 and set(report["principles"]) == {"factuality", "toxicity"}


# Whose share the budget is --------------------------------------------------------------------------------------------


def recipe_with(**judge: Any) -> Recipe:
    recipe = shipped_recipe("small_gpu")
    return recipe.model_copy(update={"judge": recipe.judge.model_copy(update=judge)})


@pytest.mark.parametrize(("name", "most"), [("budget_calls", 10_000), ("budget_tokens", 3_000_001),
                                            ("budget_money", 7.5)])
def test_labels_and_evaluation_together_keep_the_runs_budget(name: str, most: float) -> None:
    recipe = recipe_with(**{name: most, "price_in": 1.0})
    label, verdicts = (runtime_of(recipe, kind=kind)["judge"][name] for kind in ("label", "evaluate"))
    assert 0.99 * most < len(recipe.principles) * label + verdicts <= most * (1 + 1e-9)
    assert verdicts > 0


def test_without_a_budget_nobody_has_one() -> None:
    judge = runtime_of(recipe_with(), kind="evaluate")["judge"]
    assert (judge["budget_calls"], judge["budget_tokens"], judge["budget_money"]) == (0, 0, 0)
