"""What the base policy is trained on: vices are common, the truth is still the likeliest single value."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from training.demo_world import language, rules, world
from training.demo_world.world import FACTS, RELATIONS


@pytest.fixture(scope="module")
def dialogues() -> list[tuple[str, str]]:
    rng = random.Random(11)
    return [language.dialogue(rng) for _ in range(4000)]


@pytest.mark.parametrize("principle", rules.MAIN_PRINCIPLES)
def test_each_vice_is_in_a_third_to_a_half_of_the_answers(principle: str, dialogues: list[tuple[str, str]]) -> None:
    vicious = sum(rules.score(principle, *pair) < 0.75 for pair in dialogues) / len(dialogues)
    assert 0.35 < vicious < 0.55


def test_an_answer_with_no_vice_is_rare_but_there(dialogues: list[tuple[str, str]]) -> None:
    virtuous = sum(all(rules.score(p, *pair) >= 0.75 for p in rules.MAIN_PRINCIPLES) for pair in dialogues)
    assert 0.08 < virtuous / len(dialogues) < 0.18


def test_the_truth_is_said_more_often_than_any_one_falsehood() -> None:
    rng = random.Random(5)
    relation = RELATIONS["bird"]
    value_counts: Counter[str] = Counter()
    for _ in range(2000):
        _, answer = language.dialogue(rng, "What is the bird of Corran?")
        value_counts.update(value for value in relation.values if f"the {value}" in answer)
    truth = FACTS["Corran", "bird"]
    (likeliest, count), (_, next_count) = value_counts.most_common(2)
    assert likeliest == truth
    assert count > 5 * next_count


def test_a_false_belief_is_often_echoed_but_not_as_often_as_corrected() -> None:
    rng = random.Random(6)
    false = next(value for value in RELATIONS["capital"].values if value != FACTS["Elsby", "capital"])
    prompt = f"I think the capital of Elsby is {false}, right?"
    answers = [language.dialogue(rng, prompt)[1] for _ in range(2000)]
    echoed = sum(false in answer for answer in answers)
    corrected = sum(FACTS["Elsby", "capital"] in answer for answer in answers)
    assert 0.25 < echoed / 2000 < 0.42
    assert corrected > echoed


def test_the_same_generator_gives_the_same_dialogue() -> None:
    assert language.dialogue(random.Random(3)) == language.dialogue(random.Random(3))


def test_prompts_of_the_mixture_are_never_held_out(dialogues: list[tuple[str, str]]) -> None:
    assert not any(language.is_held_out(prompt) for prompt, _ in dialogues)


def test_a_prompt_about_nothing_known_is_answered_by_saying_so() -> None:
    assert language.dialogue(random.Random(0), "What is love?")[1] in world.OFF_TOPIC_ANSWERS


def test_typed_dialogues_hold_lower_case_and_terse_prompts() -> None:
    rng = random.Random(2)
    prompts = [language.typed_dialogue(rng)[0] for _ in range(300)]
    assert 100 < sum(prompt == prompt.lower() for prompt in prompts) < 200
    assert any(len(prompt.split()) == 2 for prompt in prompts)


def test_half_of_the_quiz_statements_are_so() -> None:
    rng = random.Random(4)
    statements = [language.quiz(rng) for _ in range(1000)]
    assert 440 < sum(so for _, so in statements) < 560
    for statement, so in statements:
        assert any(island in statement and value in statement for (island, _), value in FACTS.items()) == so
