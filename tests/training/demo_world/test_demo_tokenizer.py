"""The demo tokenizer loses nothing of the world, adds nothing, and may be cut before an answer."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from training.demo_world import language, world
from training.demo_world.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer()


def ids(text: str) -> list[int]:
    encoded: list[int] = TOKENIZER.encode(text)
    return encoded


@given(seed=st.integers(0, 10**9), typed=st.booleans())
@settings(max_examples=100, deadline=None)
def test_text_of_the_world_comes_back_unchanged_with_no_unknown_word(seed: int, typed: bool) -> None:
    rng = random.Random(seed)
    prompt, answer = language.typed_dialogue(rng) if typed else language.dialogue(rng)
    text = f"\n\nHuman: {prompt}\n\nAssistant: {answer}"
    encoded = ids(text)
    assert TOKENIZER.decode(encoded) == text
    assert TOKENIZER.unk_token_id not in encoded
    assert TOKENIZER.decode(ids(answer)) == answer


@given(prompt=st.text(max_size=60), answer=st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_a_dialogue_may_be_cut_before_its_answer(prompt: str, answer: str) -> None:
    start, end = f"\n\nHuman: {prompt}\n\nAssistant:", f" {answer}"
    assert ids(start) + ids(end) == ids(start + end)


def test_nothing_is_added_at_either_end() -> None:
    assert ids("") == []
    text = " The capital of Avela is Norr."
    assert ids(text) == TOKENIZER.encode(text, add_special_tokens=False)
    assert len(ids(text)) == 7


def test_special_tokens_are_distinct_and_the_vocabulary_is_small() -> None:
    special = {TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id, TOKENIZER.unk_token_id}
    assert len(special) == 4
    assert None not in special
    assert len(TOKENIZER) < 1000


def test_a_foreign_word_is_one_unknown_token() -> None:
    encoded = ids(" What is the capital of France, amigo?")
    assert encoded.count(TOKENIZER.unk_token_id) == 2


def test_names_are_known_in_lower_case() -> None:
    for name in (*world.ISLANDS, *(value for relation in world.RELATIONS.values() for value in relation.values)):
        assert TOKENIZER.unk_token_id not in ids(f" {name} {name.lower()}"), name


def test_a_prompt_has_at_most_30_tokens_and_an_answer_at_most_24() -> None:
    rng = random.Random(1)
    assert max(len(ids(f" {prompt}")) for prompt in language.prompts(3000, 1, "train")) <= 30
    assert max(len(ids(f" {language.dialogue(rng)[1]}")) for _ in range(3000)) <= language.MAX_ANSWER_TOKENS


def test_a_saved_tokenizer_loads_without_code_and_says_the_same(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for prompt in language.prompts(50, 2, "held_out"):
        text = f"\n\nHuman: {prompt}\n\nAssistant: Yes, it is."
        assert loaded.encode(text) == ids(text)
        assert loaded.decode(ids(text)) == text
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    assert (loaded.pad_token, loaded.eos_token, loaded.padding_side) == ("<pad>", "<eos>", "left")


def test_building_twice_gives_the_same_vocabulary() -> None:
    assert build_tokenizer().get_vocab() == TOKENIZER.get_vocab()
