"""The prompts of the demo world: enough, distinct, split for good."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.demo_world import language
from training.demo_world.world import FACTS, ISLANDS, RELATIONS


def test_every_island_has_one_value_of_each_relation_and_shares_it_with_no_other() -> None:
    assert len(FACTS) == len(ISLANDS) * len(RELATIONS) == 60
    for relation in RELATIONS:
        assert len({FACTS[island, relation] for island in ISLANDS}) == len(ISLANDS)


def test_no_word_is_a_value_of_two_relations() -> None:
    values = [value.lower() for relation in RELATIONS.values() for value in relation.values]
    assert len(values) == len(set(values))


def test_there_are_enough_distinct_prompts_in_both_splits() -> None:
    train, held_out = language.prompts(5000, 0, "train"), language.prompts(1000, 0, "held_out")
    assert len(set(train)) == 5000
    assert len(set(held_out)) == 1000
    assert not set(train) & set(held_out)


@given(n=st.integers(0, 200), seed=st.integers(0, 10**9), split=st.sampled_from(["train", "held_out"]))
@settings(max_examples=20, deadline=None)
def test_the_same_arguments_give_the_same_prompts(n: int, seed: int, split: language.Split) -> None:
    once = language.prompts(n, seed, split)
    assert once == language.prompts(n, seed, split)
    assert len(set(once)) == n
    assert all(language.is_held_out(text) == (split == "held_out") for text in once)


def test_a_larger_draw_begins_with_the_smaller_one() -> None:
    assert language.prompts(50, 7, "train") == language.prompts(100, 7, "train")[:50]


def test_about_half_the_prompts_assert_a_belief_and_most_beliefs_are_false() -> None:
    drawn = language.draw_prompts(2000, 3, "train")
    beliefs = [prompt for prompt in drawn if prompt.belief is not None]
    assert 0.45 < len(beliefs) / len(drawn) < 0.55
    assert 0.6 < sum(prompt.belief_is_false for prompt in beliefs) / len(beliefs) < 0.76


def test_asking_for_more_than_there_are_says_how_many_there_are() -> None:
    with pytest.raises(ValueError, match="held_out split has 2291 prompts, 100000 were asked for"):
        language.prompts(100_000, 0, "held_out")


def test_an_unknown_split_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown split 'test'; known: train, held_out"):
        language.prompts(1, 0, "test")  # type: ignore[arg-type]
