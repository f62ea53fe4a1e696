"""The health watch: what it warns of, that it warns once an episode, and that it never stops a run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.tiny_models import PROMPTS, Remembering
from training.errors import JudgeUnavailable
from training.judges.judge import PairQuestion, Verdict
from training.ppo.health import SampleJudge, Watch, WatchedReporter


def codes(watch: Watch, tag: str, values: list[float], **beside: float) -> dict[int, str]:
    """What a watch says of one curve, by step from 1; `beside` holds what the other numbers are all the while."""
    others = {name.replace("__", "/"): value for name, value in beside.items()}
    code_by_step = {}
    for step, value in enumerate(values, 1):
        for finding in watch.look(step, {tag: value} | others):
            code_by_step[step] = finding.code
    return code_by_step


def test_a_run_in_good_health_is_left_alone() -> None:
    watch = Watch(kl_target=6)
    for step in range(1, 200):
        assert not watch.look(step, {
            "kl/mean": 6 + math.sin(step), "policy/entropy": 2 - step / 400, "response/length": 30 + step / 20,
            "principle/a/standardised": step / 100, "principle/b/standardised": 0.1 * math.sin(step),
            "reward/total": step / 200})  # fmt: skip


def test_a_number_that_is_none_is_named() -> None:
    watch = Watch(None)
    assert watch.look(1, {"policy/loss": 0.5, "value/loss": 0.1}) == []
    (finding,) = watch.look(2, {"policy/loss": math.nan, "value/loss": math.inf})
    assert finding.code == "not_a_number" and "policy/loss, value/loss" in finding.message
    assert watch.look(3, {"policy/loss": math.nan}) == []  # still the same episode
    assert watch.look(4, {"policy/loss": 0.5}) == []
    assert len(watch.look(5, {"policy/loss": math.nan})) == 1  # a new one


def test_a_kl_far_above_its_target_is_an_episode_with_one_warning() -> None:
    # The level is the mean of five; the bound 2.5 * 4 = 10, well again under 6. 20 for five steps: 8, 12 > 10 at the
    # second. Then down to 8, which is not well, up again, which is no news; down to 0, and up: a second episode.
    curve = [4.0] * 5 + [20.0] * 5 + [8.0] * 5 + [20.0] * 5 + [0.0] * 5 + [20.0] * 5
    assert codes(Watch(kl_target=4), "kl/mean", curve) == {7: "kl_blow_up", 28: "kl_blow_up"}


def test_a_kl_that_is_not_steered_is_measured_by_the_token() -> None:
    # Half a nat a token of ten: 5.
    assert codes(Watch(None), "kl/mean", [4.9] * 9, response__length=10) == {}
    assert codes(Watch(None), "kl/mean", [5.1] * 9, response__length=10) == {5: "kl_blow_up"}


def test_entropy_that_collapses_is_told_against_its_start() -> None:
    # Start 2.0, bound 0.4: the mean of (2, 2, 0, 0, 0) is 0.8, of (2, 0, 0, 0, 0) 0.4, of five zeros 0.
    assert codes(Watch(None), "policy/entropy", [2.0] * 5 + [0.0] * 5) == {10: "entropy_collapse"}
    assert codes(Watch(None), "policy/entropy", [2.0] * 5 + [0.5] * 50) == {}


def test_length_that_doubles_or_halves_is_told() -> None:
    assert codes(Watch(None), "response/length", [10.0] * 5 + [21.0] * 5) == {10: "length_drift"}
    assert codes(Watch(None), "response/length", [10.0] * 5 + [4.0] * 5) == {10: "length_drift"}
    assert codes(Watch(None), "response/length", [10.0] * 5 + [19.0] * 9) == {}


def principles(**scores: float) -> dict[str, float]:
    return {f"principle/{name}/standardised": value for name, value in scores.items()}


def test_a_principle_that_falls_while_another_rises_is_named_with_it() -> None:
    watch = Watch(None)
    for step in range(1, 11):
        assert watch.look(step, principles(detail=0.5, conciseness=0.5, empathy=0.0)) == []
    findings = [finding for step in range(11, 16)
             for finding in watch.look(step, principles(detail=1.5, conciseness=-0.5, empathy=0.0))]  # fmt: skip
    # After three of five steps conciseness has fallen by 0.6 and detail risen by 0.6.
    (finding,) = findings
    assert finding.code == "principles_apart" and finding.principle == "conciseness"
    assert "conciseness has fallen by 0.60 from its best at step 10 while detail rose by 0.60" in finding.message


def test_principles_that_fall_together_are_no_conflict() -> None:
    watch = Watch(None)
    for step in range(1, 40):
        assert watch.look(step, principles(detail=-step / 10, conciseness=-step / 10)) == []


def test_a_reward_that_rises_while_the_judge_turns_away_is_gaming() -> None:
    watch = Watch(None)
    findings = []
    for step in range(1, 31):
        values = {"reward/total": step / 10}
        if step % 10 == 0:
            values |= {"judge/win_rate": {10: 0.6, 20: 0.9, 30: 0.4}[step], "judge/pairs": 64.0}
        findings += watch.look(step, values)
    # Two standard errors of a difference with 64 pairs: 2 sqrt(2 * 0.25 / 64) = 0.18; it fell by 0.5.
    (finding,) = findings
    assert finding.code == "judge_apart"
    assert "40% of the samples, 90% at step 20, while the reward rose by 1.00" in finding.message


@pytest.mark.parametrize("name", ["judge", "reward", "kl", "total", "reward/total", "mean"])
def test_a_principle_may_have_any_name(name: str) -> None:
    """What the watch keeps for the judge and the reward is kept apart from what it keeps for principles."""
    watch, twin = Watch(None), Watch(None)
    for step in range(1, 41):
        fall = -0.1 * max(0, step - 20)
        values = {"judge/win_rate": 0.9 if step <= 20 else 0.4, "judge/pairs": 64.0, "reward/total": step / 20}
        scores = {"principle/{}/standardised": fall, "principle/other/standardised": -fall}
        seen = [[(finding.code, finding.message) for finding in watcher.look(step, values | {
            tag.format(principle): score for tag, score in scores.items()})]
            for watcher, principle in ((watch, name), (twin, "detail"))]
        assert seen[0] == [(code, message.replace("detail", name)) for code, message in seen[1]]


def test_few_samples_must_fall_further_to_say_anything() -> None:
    for pairs, warnings in ((6.0, []), (200.0, ["judge_apart"])):  # two standard errors are 0.58 and 0.1
        watch = Watch(None)
        codes = [finding.code for step, rate in enumerate([*[0.5] * 5, 0.9, 0.6], 1) for finding in watch.look(
            step, {"judge/win_rate": rate, "judge/pairs": pairs, "reward/total": float(step)})]
        assert codes == warnings


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=80), st.floats(0.1, 50))
def test_between_two_warnings_of_a_kind_it_was_well_again(curve: list[float], target: float) -> None:
    watch = Watch(target)
    level: list[float] = []
    ill = False
    for step, value in enumerate(curve, 1):
        warned = bool(watch.look(step, {"kl/mean": value}))
        level.append(value)
        if len(level) < 5:
            assert not warned
            continue
        now = math.fsum(level[-5:]) / 5
        assert warned == (not ill and now > 2.5 * target)
        ill = (ill or warned) and not now < 1.5 * target


class FullWarnings(Remembering):
    """Keeps whole warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.full_warnings: list[tuple[int, str, str]] = []

    def warning(self, code: str, message: str, step: int = 0) -> None:
        self.full_warnings.append((step, code, message))


def test_a_warning_names_the_step_and_the_samples_that_show_it() -> None:
    recorded = FullWarnings()
    reporter = WatchedReporter(recorded, lambda: Watch(None))
    for index, response in enumerate(["short", "the longest of them all", "rather long here", "mid size", "x"]):
        reporter.sample(20, index, "?", response, 0.0, {})
    for step in range(21, 31):
        reporter.metric(step, {"response/length": 10.0 if step < 26 else 30.0})
    ((step, code, message),) = recorded.full_warnings
    # Mean of five above 20: (10, 10, 30, 30, 30) is 22.
    assert (step, code) == (28, "length_drift")
    assert message.endswith("See samples 2, 3, 4 of step 20.")


def write_events(path: Path, events: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps({"seq": seq, "time": 1.7e9, **event}) + "\n"
                            for seq, event in enumerate(events, 1)))


def test_a_resumed_run_knows_its_start_and_does_not_warn_again(tmp_path: Path) -> None:
    past = tmp_path / "events.jsonl"
    metrics = [{"kind": "metric", "step": step, "values": {"response/length": 10.0 if step < 6 else 30.0}}
               for step in range(1, 11)]  # fmt: skip
    write_events(past, [{"kind": "rewind", "step": 0}, *metrics])
    recorded = FullWarnings()
    reporter = WatchedReporter(recorded, lambda: Watch(None), past)
    reporter.rewind(10)
    reporter.metric(11, {"response/length": 30.0})
    assert recorded.full_warnings == []  # the episode began before the stop
    reporter.rewind(5)
    for step in range(6, 11):
        reporter.metric(step, {"response/length": 30.0})
    assert [step for step, *_ in recorded.full_warnings] == [8]  # what came after step 5 never was


class Likes:
    """A judge that prefers the answer it is told to; `None` to be out of reach."""

    def __init__(self, best: str | None) -> None:
        self.best = best
        self.asked: list[PairQuestion] = []

    async def compare(self, items: Any, on_verdict: Any = None) -> list[Verdict]:
        self.asked += items
        if self.best is None:
            raise JudgeUnavailable("It is out of reach.", "Start it.")
        return [Verdict(float(item.a == self.best), None, None, None, "", 0, "") for item in items]


def test_the_judge_compares_each_report_of_samples_with_the_first() -> None:
    judge, recorded = Likes("good"), FullWarnings()
    reporter = WatchedReporter(recorded, lambda: Watch(None), judge=SampleJudge(judge, PROMPTS[:4]))
    for step, answers in ((0, "aaaa"), (5, ["good", "bad", "a", "good"])):
        for index, answer in enumerate(answers):
            reporter.sample(step, index, "?", answer, 0.0, {})
    # Two won, one lost, one is as it was.
    assert recorded.metrics == {5: {"judge/win_rate": 0.625, "judge/pairs": 4.0}}
    assert [item.prompt for item in judge.asked] == [PROMPTS[0], PROMPTS[1], PROMPTS[3]]


def test_a_judge_out_of_reach_is_a_warning_and_no_end() -> None:
    recorded = FullWarnings()
    reporter = WatchedReporter(recorded, lambda: Watch(None), judge=SampleJudge(Likes(None), PROMPTS[:1]))
    reporter.sample(0, 0, "?", "before", 0.0, {})
    reporter.sample(5, 0, "?", "after", 0.0, {})
    ((step, code, message),) = recorded.full_warnings
    assert (step, code) == (5, "no_judge") and "out of reach" in message


def test_what_is_reported_passes_through_unchanged() -> None:
    recorded = FullWarnings()
    reporter = WatchedReporter(recorded, lambda: Watch(None))
    reporter.metric(1, {"kl/mean": 1.5})
    reporter.sample(1, 0, "a prompt", "a response", 0.25, {"detail": 1.0})
    reporter.progress(1, 2)
    reporter.rewind(1)
    assert recorded.metrics == {1: {"kl/mean": 1.5}} and recorded.progressed == [(1, 2)] and recorded.rewinds == [1]
    assert recorded.samples == [(1, 0, "a prompt", "a response", 0.25, {"detail": 1.0})]


@pytest.mark.parametrize("missing", [[], ["kl/mean"], ["response/length"]])
def test_a_stage_may_report_less(missing: list[str]) -> None:
    values = {"kl/mean": 1.0, "response/length": 5.0, "reward/total": 0.0}
    watch = Watch(None)
    for step in range(1, 9):
        assert watch.look(step, {tag: value for tag, value in values.items() if tag not in missing}) == []
