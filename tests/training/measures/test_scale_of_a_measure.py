"""What makes a measure a reward: its scale over the responses of the pairs, by hand."""

from __future__ import annotations

import pytest

from training.errors import BadData, MeasureFailed
from training.measures import scale
from training.measures.scale import SafeMeasure, Scale, scale_of


def test_the_scale_is_the_mean_and_the_deviation_over_n() -> None:
    assert scale_of("brevity", [2.0, 4.0, 4.0, 6.0]) == (4.0, pytest.approx(2.0**0.5))


def test_lower_is_better_turns_the_sign() -> None:
    of_words = Scale(mean=6.0, std=2.0)
    assert of_words.standardised(9.0, "high") == 1.5 and of_words.standardised(9.0, "low") == -1.5


def test_a_measure_that_is_the_same_everywhere_has_no_scale_and_says_what_to_do() -> None:
    with pytest.raises(BadData, match="All 3 responses of the pairs measure 0 on 'json'.*no scale") as refusal:
        scale_of("json", [0.0, None, 0.0, 0.0])
    assert "'gauge'" in refusal.value.remedy


def test_a_measure_that_mostly_fails_is_no_reward_and_a_few_failures_do_not_count() -> None:
    assert scale_of("house", [1.0, 3.0, None]) == (2.0, 1.0)
    with pytest.raises(BadData, match="a number for 1 of 3 responses"):
        scale_of("house", [1.0, None, None])
    with pytest.raises(BadData, match="a number for 0 of 0 responses"):
        scale_of("house", [])


def test_a_failure_is_told_once_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(prompt: object, response: str) -> float:
        if response == "odd":
            raise MeasureFailed("It was odd.", "Correct it.")
        return 1.0

    monkeypatch.setattr(scale, "make_measure", lambda settings, reference_of: fails)
    told: list[str] = []
    measure = SafeMeasure("house", {"kind": "words"}, told.append)
    assert [measure([], text) for text in ("odd", "plain", "odd")] == [None, 1.0, None]
    assert told == ["The measure of 'house' has no number for a response: It was odd."]
