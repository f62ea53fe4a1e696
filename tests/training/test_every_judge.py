"""Whatever manner a server has, a run labels by it what can be labelled, and the connection test says the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.training.judge_moods import MOODS, answer, reply_body, wants_logprobs
from tests.training.scripted_server import Script, failure, options, serving
from tests.training.stage_folders import events, job, pair, run
from training.config import JudgeSettings
from training.errors import JudgeUnavailable, StopRequested, TrainingError
from training.judges.addresses import AddressGuard
from training.judges.connection_test import ConnectionReport
from training.judges.connection_test import test_connection as try_connection
from training.run.artifacts import read_jsonl
from training.stages import label

OPEN = AddressGuard(("127.0.0.1",))
PAIRS = [pair(number, a="Short." if number % 2 else "A rather long answer.", b="Of middle length.")
         for number in range(12)]


def settings(base_url: str, **changes: Any) -> JudgeSettings:
    return JudgeSettings.model_validate({"kind": "openai", "model": "m", "base_url": base_url, "concurrency": 4,
                                         "timeout": 20, **changes})


def labelled(server: Any, folder: Path, should_stop: Any = lambda: False, **changes: Any) -> list[dict[str, Any]]:
    """Run a label stage and return its rows."""
    asked = {"judge": settings(server.base_url, **changes).model_dump(mode="json"), "principle": "conciseness",
             "statement": "shorter", "seed": 0}
    run(label.run, job("label", folder, asked, pairs=PAIRS), folder, should_stop)
    return list(read_jsonl(folder / "labels.jsonl"))


async def report_of(script: Script, **changes: Any) -> ConnectionReport:
    with serving(script) as server:
        return await try_connection(settings(server.base_url, **changes), "", OPEN)


@pytest.mark.parametrize("mood", MOODS)
def test_a_run_labels_every_pair_that_can_be(mood: str, tmp_path: Path) -> None:
    script, most = MOODS[mood]
    with serving(script) as server:
        rows = labelled(server, tmp_path)
    usable = [row for row in rows if row["probability"] is not None]
    assert len(usable) == most, [row["error"] for row in rows]
    shorter = {pair["digest"]: len(pair["a"]) < len(pair["b"]) for pair in PAIRS}
    assert all((row["probability"] > 0.5) == shorter[row["pair"]] for row in usable)
    assert len(server.requests) < 24 * 4 + 40, "four answers for each order at most, and what was learnt"


@pytest.mark.parametrize("mood", MOODS)
async def test_the_connection_test_agrees(mood: str) -> None:
    report = await report_of(MOODS[mood][0])
    assert (report.works, report.reason) == (True, "")


@pytest.mark.parametrize("mood", ["thinks beside the content", "thinks in the content", "thinking is not told"])
def test_a_judge_that_thinks_untold_is_named_with_the_setting_for_it(mood: str, tmp_path: Path) -> None:
    with serving(MOODS[mood][0]) as server:
        labelled(server, tmp_path)
    warnings = [event["message"] for event in events(tmp_path, "warning")]
    assert sum("'judge.reasoning'" in message for message in warnings) == 1, warnings


def test_what_is_cut_off_for_ever_names_the_setting_too(tmp_path: Path) -> None:
    def never_ends(*_: Any) -> Any:
        return reply_body("<think>Let me see", finish="length")

    with serving(never_ends) as server, pytest.raises(JudgeUnavailable, match="switch 'judge.reasoning' on"):
        labelled(server, tmp_path)
    assert len(server.requests) < 12 + 20


def test_one_long_refusal_among_answers_changes_nothing_for_the_others(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Any:
        if wants_logprobs(body):
            return failure(400, "no logprobs")
        if "Question 5?" in body["messages"][-1]["content"]:
            return reply_body("I am sorry, but I", finish="length")
        return answer(body)

    with serving(script) as server:
        rows = labelled(server, tmp_path, concurrency=1)
    assert sum(row["probability"] is None for row in rows) == 1
    assert {body["max_tokens"] for body in server.requests} == {1, 8}


# Log-probabilities: auto, yes, no -------------------------------------------------------------------------------------


async def test_with_no_they_are_never_asked_for(tmp_path: Path) -> None:
    with serving(lambda body, _: answer(body)) as server:
        report = await try_connection(settings(server.base_url, logprobs="no"), "", OPEN)
    assert report.works and not report.logprobs
    assert not any(wants_logprobs(body) for body in server.requests)


@pytest.mark.parametrize("mood", ["403 for log-probabilities", "answers in parts", "500 for log-probabilities"])
def test_with_yes_a_run_takes_nothing_else_for_them(mood: str, tmp_path: Path) -> None:
    with serving(MOODS[mood][0]) as server, pytest.raises(TrainingError):
        labelled(server, tmp_path, logprobs="yes")
    assert not [row for row in events(tmp_path, "label") if row["probability"] is not None]


@pytest.mark.parametrize("mood", ["403 for log-probabilities", "answers in parts", "500 for log-probabilities"])
async def test_with_yes_the_connection_test_takes_nothing_else_either(mood: str) -> None:
    report = await report_of(MOODS[mood][0], logprobs="yes")
    assert not report.works and report.reason


def test_the_setting_is_no_part_of_what_a_label_is() -> None:
    from training.config import shipped_recipe
    from training.run.pipeline import plan

    recipe = shipped_recipe("small_gpu")
    other = recipe.model_copy(update={"judge": recipe.judge.model_copy(update={"logprobs": "no"})})
    assert plan(recipe) == plan(other)


# What cannot be helped is told, in the server's own words ------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429, 500, 503])
async def test_every_message_holds_the_servers_words_and_not_the_key(status: int, tmp_path: Path) -> None:
    key = "sk-0123456789-abcdefghijklmnopqrstuvwxyz"
    words = f"Our words number {status}, for {'x' * 80} {key} and {key}"
    with serving(lambda *_: failure(status, words)) as server:
        report = await try_connection(settings(server.base_url), key, OPEN)
    assert f"Our words number {status}" in report.reason and f"HTTP {status}" in report.reason
    assert "sk-0123" not in report.reason and "wxyz" not in report.reason


@pytest.mark.parametrize(("wait", "words"), [("198300", r"until 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(55 h\)"),
                                             ("Fri, 31 Dec 2100 23:59:59 GMT", "until 2100-12-31 23:59 UTC"),
                                             ("900", r"UTC \(15 min\)")])
def test_a_long_wait_is_told_at_once_and_a_stop_is_heard_in_it(wait: str, words: str, tmp_path: Path) -> None:
    def has_said_so() -> bool:
        return (tmp_path / "events.jsonl").is_file() and bool(events(tmp_path, "warning"))

    with serving(lambda *_: failure(429, "come back later", Retry_After=wait)) as server, pytest.raises(StopRequested):
        labelled(server, tmp_path, has_said_so)
    [warning] = events(tmp_path, "warning")
    assert re.search(words, warning["message"]) and "come back later" in warning["message"]
    assert len(server.requests) <= 4, "as many as were in flight"


async def test_the_connection_test_does_not_wait_for_hours() -> None:
    report = await report_of(lambda *_: failure(429, "come back later", Retry_After="198300"))
    assert not report.works and "(55 h)" in report.reason and "come back later" in report.reason


def test_a_reply_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.judges.openai_judge.LARGEST_REPLY", 10_000)
    monkeypatch.setattr("training.judges.rate_controller.PROBES_AT_FIRST", 0)
    with (serving(lambda *_: reply_body("A" * 1_000_000)) as server,
          pytest.raises(JudgeUnavailable, match="answered none")):
        labelled(server, tmp_path)


def test_the_rule_of_the_moods_is_known(tmp_path: Path) -> None:
    """The moods judge by length: the label says so in both orders, whatever is shown first."""
    with serving(MOODS["good"][0]) as server:
        rows = labelled(server, tmp_path)
    assert all(row["order_gap"] == pytest.approx(0) for row in rows)
    assert {options(body)[0] for body in server.requests} == {pair[side] for pair in PAIRS for side in ("a", "b")}
