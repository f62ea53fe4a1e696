"""The profile of a dataset: numbers that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from training.data.lengths import characters, tokens_of, words
from training.data.profile import Profile, distribution
from training.data.rows import Row
from training.demo_world import WEIGHTS
from training.dialogue import Dialogue
from training.errors import ModelUnavailable


def asked(*turns: str, system: str = "") -> Dialogue:
    messages = [{"role": role, "content": turn} for role, turn in zip(("user", "assistant") * 20, turns, strict=False)]
    return [*([{"role": "system", "content": system}] if system else []), *messages]


def profiled(*rows: Row, expected: int = 2, held_out: int = 300) -> dict[str, Any]:
    profile = Profile(words, expected)
    profile.add(list(enumerate(rows, 1)))
    return profile.result(held_out)


def test_percentiles_are_by_nearest_rank_and_bars_double() -> None:
    assert distribution(range(1, 21)) == {
        "values": 20, "median": 10, "p95": 19, "least": 1, "most": 20,
        "bars": [[1, 1, 1], [2, 3, 2], [4, 7, 4], [8, 15, 8], [16, 31, 5]]}
    assert distribution([0, 5])["bars"] == [[0, 0, 1], [1, 1, 0], [2, 3, 0], [4, 7, 1]]
    assert distribution([]) == {"values": 0, "bars": []}


def test_turns_have_a_bar_each_up_to_ten() -> None:
    assert distribution([1, 1, 3, 10, 25], by_value=True)["bars"] == [
        [1, 1, 2], [2, 2, 0], [3, 3, 1], *([turns, turns, 0] for turns in range(4, 10)), [10, 25, 2]]


def test_lengths_and_turns_of_prompts_and_responses() -> None:
    result = profiled(
        Row(asked("Who are you?"), "I am a program.", "Me."),
        Row(asked("Who?", "I.", "Which I?", system="Be brief."), "The one.", "This one here, of course."))

    assert (result["turns"]["bars"], result["turns"]["median"]) == ([[1, 1, 1], [2, 2, 0], [3, 3, 1]], 1)
    assert (result["prompt_length"]["least"], result["prompt_length"]["most"]) == (3, 6)
    assert (result["response_length"]["values"], result["response_length"]["most"]) == (4, 5)
    assert (result["pairs"], result["longer_chosen"], result["shorter_chosen"]) == (2, 1, 1)


def test_empty_and_equal_responses_are_counted() -> None:
    result = profiled(Row(asked("a"), "yes", "no"), Row(asked("b"), "so  be it", "so be it"), Row(asked("c"), "yes"),
                      Row(asked("d"), "yes", " "))

    assert (result["empty"], result["equal"]) == (2, 1)
    assert profiled(Row(asked("a")), Row(asked("b")), expected=0)["empty"] == 0


def test_repeated_rows_and_prompts_and_nearly_repeated_ones() -> None:
    question = "Tell me the way to the station"
    result = profiled(
        Row(asked(question), "Left.", "Right."), Row(asked(question), "Left.", "Right."),
        Row(asked(question), "Left.", "Right.", ratings={"honesty": (4.0, 2.0)}),  # rated, so not the same row
        Row(asked(question + "!"), "Left.", "Right."), Row(asked("Is tea hot?"), "Yes.", "No."))

    assert (result["rows"], result["prompts"], result["repeated_rows"], result["repeated_prompts"]) == (5, 3, 1, 2)
    assert result["near_prompts"] == 1
    assert [example[:2] for example in result["near_examples"]] == [[4, 1]]


def test_held_out_prompts_that_are_nearly_trained_on() -> None:
    twins = [text + mark for text in ("Tell me the way to the station", "Name a deep lake in the north",
                                      "What did the baker say to the king", "How many legs has a spider got",
                                      "Why does the moon follow our train") for mark in ("", "!")]
    rows = [Row(asked(text)) for text in twins]
    one, two = profiled(*rows, expected=0, held_out=1), profiled(*rows, expected=0)

    # The two smallest digests are those of both prompts about the baker: the first alone is nearly trained on.
    assert (one["near_prompts"], one["held_out"], one["held_out_near"]) == (5, 1, 1)
    assert (two["held_out"], two["held_out_near"]) == (2, 0)  # a fifth of ten
    assert profiled(Row(asked("alone")), expected=0)["held_out"] == 0


def test_lengths_in_characters_and_in_tokens_of_a_model_on_this_machine(tmp_path: Path) -> None:
    assert words(["two words", ""]) == [2, 0]
    assert characters(["né", ""]) == [2, 0]
    core = Tokenizer(models.WordLevel({"[unk]": 0, "two": 1}, unk_token="[unk]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    core.enable_truncation(2)
    core.save(str(tmp_path / "tokenizer.json"))
    assert tokens_of(tmp_path)(["two words, or more", ""]) == [5, 0]  # the comma is one
    assert tokens_of(WEIGHTS)([""]) == [0]
    with pytest.raises(ModelUnavailable, match=r"tokenizer of 'broken' cannot be read.*or count words"):
        tokens_of(tmp_path / "broken")
