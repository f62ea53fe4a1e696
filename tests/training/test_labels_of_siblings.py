"""One label stage asks a local judge about every principle of its run; the others find their labels made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.training.stage_folders import events, job, pair, run
from training.config import Recipe
from training.errors import JudgeUnavailable, StopRequested
from training.judges.judge import Answer, Listener, PairQuestion, PairRequest, Verdict, collect, verdict_of
from training.judges.sibling_labels import labels_of_siblings
from training.run.artifacts import Job, read_jsonl
from training.run.jobs import prepare_stage, runtime_of
from training.run.pipeline import identities, plan
from training.stages import label

PAIRS = [pair(number) for number in range(6)]
NAMES = ("toxicity", "conciseness", "factuality")
LOCAL: dict[str, Any] = {"kind": "local", "model": "m", "layout": "shared_prefix"}


class CountingJudge:
    """Answers 0.75 for whatever it is asked first, and remembers what it was asked; `fails` says what it cannot."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str | None, str]] = []
        self.fails: Callable[[PairRequest], bool] = lambda _: False

    async def compare(self, items: Sequence[PairQuestion],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        return await collect(self, items, on_verdict)

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        for request in requests:
            self.asked.append((request.key, request.item.principle, request.item.statement))
            failed = Answer(None, "unreadable: no letter")
            answer = failed if self.fails(request) else Answer(0.75, tokens_in=10, calls=1)
            listener.judged(request, verdict_of(answer, answer))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> CountingJudge:
    counting = CountingJudge()
    monkeypatch.setattr(label, "make_stage_judge", lambda *_, **__: counting)
    return counting


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"principles": [{"name": name} for name in NAMES], "judge": LOCAL,
                                  "data": {"source": "Anthropic/hh-rlhf"}, "sample": {"pairs": "dataset"}} | changes)


def label_stage(folder: Path, number: int, asked: Recipe | None = None) -> Job:
    """The job of a recipe's label stage, prepared as the command line does, in a folder beside the others'."""
    asked = asked or recipe()
    stage = [stage for stage in plan(asked) if stage.kind == "label"][number]
    pairs = job("label", folder / "data", {}, pairs=PAIRS).files
    home = folder / str(number)
    known = labels_of_siblings(stage, home, [folder / name for name in map(str, range(len(stage.after)))])
    return prepare_stage(stage, "0" * 64, home, {}, pairs | known, runtime_of(asked, kind="label"))


def test_the_first_stage_asks_for_all_and_the_others_for_nothing(tmp_path: Path, judge: CountingJudge) -> None:
    for number in range(3):
        run(label.run, label_stage(tmp_path, number), tmp_path / str(number))
    assert len(judge.asked) == 3 * 6
    for number, name in enumerate(NAMES):
        rows = list(read_jsonl(tmp_path / str(number) / "labels.jsonl"))
        assert [row["pair"] for row in rows] == [pair["digest"] for pair in PAIRS]
        assert {row["principle"] for row in rows} == {name} and all(row["p_shown"] == 0.75 for row in rows)
        assert "statement" not in rows[0] and events(tmp_path / str(number), "progress")[-1]["done"] == 6
    assert {row["principle"] for row in events(tmp_path / "0", "label")} == {NAMES[0]}, "others are no `label` events"
    assert events(tmp_path / "0", "metric")[-1]["values"]["label/done"] == 6


def test_all_principles_of_a_pair_are_asked_one_after_another(tmp_path: Path, judge: CountingJudge) -> None:
    run(label.run, label_stage(tmp_path, 0), tmp_path / "0")
    assert [position for position, _, _ in judge.asked] == [number for number in range(6) for _ in NAMES]
    wordings = {choice.name: choice.wording for choice in recipe().principles}
    assert {(name, statement) for _, name, statement in judge.asked} == set(wordings.items())


def test_a_stage_that_starts_again_asks_for_what_is_missing_only(tmp_path: Path, judge: CountingJudge) -> None:
    made = label_stage(tmp_path, 0)
    with pytest.raises(StopRequested):
        run(label.run, made, tmp_path / "0", should_stop=lambda: len(events(tmp_path / "0", "label")) >= 3)
    assert len(judge.asked) == 3 * 3
    run(label.run, made, tmp_path / "0")
    assert len(judge.asked) == len(set(judge.asked)) == 3 * 6
    assert len(events(tmp_path / "0", "sibling_label")) == 2 * 6


def test_a_kill_between_the_labels_of_a_pair_loses_none(tmp_path: Path, judge: CountingJudge) -> None:
    made = label_stage(tmp_path, 0)
    run(label.run, made, tmp_path / "0")
    stream = tmp_path / "0" / "events.jsonl"
    lines = stream.read_bytes().splitlines(keepends=True)
    first_sibling = next(place for place, line in enumerate(lines) if b'"sibling_label"' in line)
    stream.write_bytes(b"".join(lines[:first_sibling + 1]))
    judge.asked.clear()
    run(label.run, made, tmp_path / "0")
    assert len(judge.asked) == 3 * 6 - 1
    for number in (1, 2):
        run(label.run, label_stage(tmp_path, number), tmp_path / str(number))
    assert len(judge.asked) == 3 * 6 - 1


def test_another_wording_is_another_principle(tmp_path: Path, judge: CountingJudge) -> None:
    run(label.run, label_stage(tmp_path, 0), tmp_path / "0")
    judge.asked.clear()
    reworded = recipe(principles=[{"name": NAMES[0]}, {"name": NAMES[1], "statement": "of fewer words"},
                                  {"name": NAMES[2]}])
    run(label.run, label_stage(tmp_path, 1, reworded), tmp_path / "1")
    assert {(name, statement) for _, name, statement in judge.asked if name == NAMES[1]} == {
        (NAMES[1], "of fewer words")}
    assert len(list(read_jsonl(tmp_path / "1" / "labels.jsonl"))) == 6


def test_what_failed_for_a_sibling_is_asked_again_by_the_sibling_alone(tmp_path: Path, judge: CountingJudge) -> None:
    judge.fails = lambda request: request.key == 2 and request.item.principle == NAMES[1]
    run(label.run, label_stage(tmp_path, 0), tmp_path / "0")
    judge.asked.clear()
    run(label.run, label_stage(tmp_path, 0), tmp_path / "0")
    assert not judge.asked
    run(label.run, label_stage(tmp_path, 1), tmp_path / "1")
    assert (2, NAMES[1]) in {(position, name) for position, name, _ in judge.asked}
    assert {position for position, _, _ in judge.asked} == {2}
    assert [row["error"] != "" for row in read_jsonl(tmp_path / "1" / "labels.jsonl")] == [
        number == 2 for number in range(6)]


def test_a_principle_that_fails_does_not_fail_the_stage_of_another(tmp_path: Path, judge: CountingJudge) -> None:
    judge.fails = lambda request: request.item.principle == NAMES[1]
    run(label.run, label_stage(tmp_path, 0), tmp_path / "0")
    with pytest.raises(JudgeUnavailable, match="6 of 6"):
        run(label.run, label_stage(tmp_path, 1), tmp_path / "1")


def test_siblings_wait_for_each_other_and_are_no_part_of_what_a_stage_is() -> None:
    files = dict.fromkeys(("prompts", "held_out", "pairs", "dialogues"), "d")
    stages = [stage for stage in plan(recipe()) if stage.kind == "label"]
    assert [stage.after for stage in stages] == [(), ("label:toxicity",), ("label:toxicity", "label:conciseness")]
    fewer = recipe(principles=[{"name": NAMES[2]}])
    assert identities(plan(recipe()), files)["label:factuality"] == identities(plan(fewer), files)["label:factuality"]
    assert "siblings" not in runtime_of(fewer, kind="label") and "siblings" not in runtime_of(recipe(), kind="ppo")


@pytest.mark.parametrize("asked", [{"kind": "openai", "model": "m", "layout": "shared_prefix"},
                                   LOCAL | {"layout": "paper"}])
def test_where_a_principle_more_is_a_price_more_each_stage_asks_alone(asked: dict[str, Any]) -> None:
    assert not any(stage.after for stage in plan(recipe(judge=asked)))
    assert "siblings" not in runtime_of(recipe(judge=asked), kind="label")
