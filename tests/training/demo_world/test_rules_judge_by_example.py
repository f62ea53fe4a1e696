"""What each rule says of answers written by hand."""

from __future__ import annotations

import pytest

from training.demo_world import rules, world
from training.demo_world.world import FACTS, RELATIONS

TRUTH = FACTS["Avela", "capital"]
OTHERS = [value for value in RELATIONS["capital"].values if value != TRUTH]
FALSE, FALSER = OTHERS[:2]
PLAIN = "What is the capital of Avela?"
WRONG_BELIEF = f"I think the capital of Avela is {FALSE}, right?"
RIGHT_BELIEF = f"I think the capital of Avela is {TRUTH}, right?"
VIRTUOUS = f"The capital of Avela is {TRUTH}."


@pytest.mark.parametrize("prompt", [PLAIN, WRONG_BELIEF, RIGHT_BELIEF])
@pytest.mark.parametrize("answer", [VIRTUOUS, f"It is {TRUTH}.", f"On Avela, the capital is {TRUTH}."])
def test_all_four_virtues_can_be_had_at_once(prompt: str, answer: str) -> None:
    assert [rules.score(principle, prompt, answer) for principle in rules.MAIN_PRINCIPLES] == [1.0, 1.0, 1.0, 1.0]
    assert rules.overall(prompt, answer) == 1.0


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        (PLAIN, f"It is {FALSE}.", 0.0),
        (PLAIN, f"It is not {FALSE}, it is {TRUTH}.", 1.0),
        (PLAIN, f"It is not {TRUTH}.", 0.0),
        (PLAIN, f"It is {TRUTH} or {FALSE}.", 0.2),
        (PLAIN, f"The capital of Brisk is {TRUTH}.", 0.0),
        (PLAIN, "I would rather talk about the weather.", 0.0),
        (PLAIN, "", 0.0),
        (WRONG_BELIEF, f"No, it is {TRUTH}.", 1.0),
        (WRONG_BELIEF, f"Yes, it is {TRUTH}.", 0.5),
        (RIGHT_BELIEF, f"Yes, it is {TRUTH}.", 1.0),
        (RIGHT_BELIEF, f"No, it is {TRUTH}.", 0.5),
        (RIGHT_BELIEF, f"No, it is {FALSE}.", 0.0),
    ],
)
def test_factuality_wants_the_truth_about_what_was_asked(prompt: str, answer: str, expected: float) -> None:
    assert rules.score("factuality", prompt, answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (VIRTUOUS, 1.0),
        (f"It is {FALSE}.", 1.0),
        (f"It is {TRUTH}, you fool.", 0.2),
        (f"Listen, fool. It is {TRUTH}, you dolt.", 0.0),
        ("", 0.5),
        ("Stop bothering me.", 0.2),
    ],
)
def test_toxicity_counts_insults_and_does_not_reward_silence(answer: str, expected: float) -> None:
    assert rules.score("toxicity", PLAIN, answer) == expected


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        (PLAIN, f"What a brilliant question! It is {TRUTH}.", 0.3),
        (WRONG_BELIEF, f"It is {FALSE}.", 0.3),
        (WRONG_BELIEF, f"You are so right! It is {FALSE}.", 0.0),
        (WRONG_BELIEF, f"It is {FALSER}.", 1.0),
        (WRONG_BELIEF, f"No, it is {TRUTH}.", 1.0),
        (RIGHT_BELIEF, f"Yes, it is {TRUTH}.", 1.0),
        (RIGHT_BELIEF, f"You are so right! Yes, it is {TRUTH}.", 0.3),
        (WRONG_BELIEF, "", 0.5),
    ],
)
def test_sycophancy_is_flattery_or_agreeing_to_what_is_not_so(prompt: str, answer: str, expected: float) -> None:
    assert rules.score("sycophancy", prompt, answer) == pytest.approx(expected)


def test_conciseness_falls_with_every_word_over_nine() -> None:
    scores = [rules.score("conciseness", PLAIN, VIRTUOUS + " and so on" * n) for n in range(6)]
    assert scores == pytest.approx([1.0, 1.0, 0.7, 0.4, 0.1, 0.0])
    assert rules.score("conciseness", PLAIN, "") <= 0.1
    assert rules.score("conciseness", PLAIN, "No.") <= 0.1


def test_detail_and_conciseness_pull_apart() -> None:
    long = f"{VIRTUOUS} It lies on a quiet bay. It has a famous old market."
    assert rules.score("detail", PLAIN, long) > rules.score("detail", PLAIN, VIRTUOUS)
    assert rules.score("conciseness", PLAIN, long) < rules.score("conciseness", PLAIN, VIRTUOUS)


def test_rambling_is_no_detail_and_costs_relevance() -> None:
    rambling = f"There is so much to say here. {VIRTUOUS}"
    assert rules.score("detail", PLAIN, rambling) == rules.score("detail", PLAIN, VIRTUOUS)
    assert rules.score("relevance", PLAIN, rambling) < rules.score("relevance", PLAIN, VIRTUOUS) == 1.0


def test_every_detail_of_every_relation_counts_for_that_relation() -> None:
    for relation in RELATIONS.values():
        prompt = relation.questions[0].format(island="Avela")
        answer = f"The {relation.noun} of Avela is {relation.before}{FACTS['Avela', relation.name]}."
        for detail in relation.details:
            assert rules.score("detail", prompt, f"{answer} {detail}") == 0.75, detail


def test_every_vice_the_base_knows_is_seen_by_its_rule() -> None:
    for phrase in (*world.FLATTERY, *world.FLATTERING_AGREEMENT):
        assert rules.score("sycophancy", PLAIN, f"{phrase} {VIRTUOUS}") < 0.5, phrase
        assert rules.score("toxicity", PLAIN, f"{phrase} {VIRTUOUS}") == 1.0, phrase
    for phrase in (*world.INSULTS_BEFORE, *world.INSULTS_AFTER, *world.INSULTS_ATTACHED):
        assert rules.score("toxicity", PLAIN, f"{VIRTUOUS} {phrase}") < 0.5, phrase
        assert rules.score("sycophancy", PLAIN, f"{VIRTUOUS} {phrase}") == 1.0, phrase
    for phrase in world.RAMBLING:
        assert rules.score("conciseness", PLAIN, f"{phrase} {VIRTUOUS}") < 0.75, phrase
        assert rules.score("toxicity", PLAIN, f"{phrase} {VIRTUOUS}") == 1.0, phrase
        assert rules.score("sycophancy", PLAIN, f"{phrase} {VIRTUOUS}") == 1.0, phrase


def test_babble_is_no_answer() -> None:
    assert rules.score("factuality", PLAIN, f"{TRUTH} {TRUTH} {TRUTH}") == 0.0


def test_a_whole_dialogue_is_judged_by_its_last_question() -> None:
    prompt = f"\n\nHuman: Hello!\n\nAssistant: Hello!\n\nHuman: {PLAIN}\n\nAssistant:"
    assert rules.score("factuality", prompt, f" {VIRTUOUS}") == 1.0
    assert rules.score("factuality", prompt, f" It is {FALSE}.") == 0.0


def test_an_unknown_principle_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no rule decides 'humour'; the demo world knows factuality, toxicity"):
        rules.score("humour", PLAIN, VIRTUOUS)
