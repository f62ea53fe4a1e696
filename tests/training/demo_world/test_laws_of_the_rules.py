"""What holds of the rules for any text at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.demo_world import language, rules
from training.demo_world.tokenizer import build_tokenizer

WORLD_WORDS = sorted(token for token in build_tokenizer().get_vocab() if not token.startswith("<"))
PROMPTS = language.prompts(200, 4, "held_out")

anything = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(WORLD_WORDS), max_size=20).map("".join))
prompts = st.one_of(st.sampled_from(PROMPTS), anything)
principles = st.sampled_from(rules.PRINCIPLES)


@given(principle=principles, prompt=prompts, response=anything)
@settings(max_examples=150, deadline=None)
def test_any_text_scores_from_0_to_1_and_always_the_same(principle: str, prompt: str, response: str) -> None:
    score = rules.score(principle, prompt, response)
    assert 0.0 <= score <= 1.0
    assert rules.score(principle, prompt, response) == score


@given(principle=principles, prompt=prompts, a=anything, b=anything)
@settings(max_examples=100, deadline=None)
def test_a_preference_is_antisymmetric_and_even_on_a_tie(principle: str, prompt: str, a: str, b: str) -> None:
    there, back = rules.preference(principle, prompt, a, b), rules.preference(principle, prompt, b, a)
    assert 0.0 < there < 1.0
    assert there + back == pytest.approx(1.0)
    assert rules.preference(principle, prompt, a, a) == 0.5
    assert rules.overall_preference(prompt, a, b) + rules.overall_preference(prompt, b, a) == pytest.approx(1.0)


@given(principle=principles, prompt=prompts, a=anything, b=anything)
@settings(max_examples=100, deadline=None)
def test_the_better_score_is_the_one_preferred(principle: str, prompt: str, a: str, b: str) -> None:
    difference = rules.score(principle, prompt, a) - rules.score(principle, prompt, b)
    preferred = rules.preference(principle, prompt, a, b) - 0.5
    assert (difference > 1e-9) == (preferred > 1e-9)


@given(prompt=st.sampled_from(PROMPTS), response=anything)
@settings(max_examples=150, deadline=None)
def test_what_answers_nothing_is_below_the_true_answer_on_every_principle(prompt: str, response: str) -> None:
    asked = language.read_question(prompt)
    assert asked is not None
    if asked.truth.lower() in response.lower() or rules.score("relevance", prompt, response) >= 0.5:
        return
    best = {principle: _virtuous_score(principle, asked) for principle in rules.PRINCIPLES}
    for principle in rules.PRINCIPLES:
        if principle != "detail":
            assert rules.score(principle, prompt, response) < best[principle]
    assert rules.score("detail", prompt, response) == 0.0 < best["detail"]


def test_silence_is_worse_than_any_answer_of_the_same_virtue_and_never_the_best_of_a_mixture() -> None:
    rng = random.Random(8)
    for prompt in PROMPTS[:50]:
        answers = [language.dialogue(rng, prompt)[1] for _ in range(20)]
        best = max(answers, key=lambda answer: rules.overall(prompt, answer))  # noqa: B023
        assert rules.overall(prompt, best) > rules.overall(prompt, "") + 0.2


def _virtuous_score(principle: str, asked: language.Prompt) -> float:
    return rules.score(principle, asked.text, f"It is {asked.truth}.")
