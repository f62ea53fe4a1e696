"""What a judge answers becomes a probability or a letter, and never a guess."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.judges import answers
from training.judges.answers import first_is_better, letter_of, read_answer
from training.judges.limits import read_limits, retry_after

SPELLINGS = ["{}", " {}.", "Option {}", "({})", "**{}**", "The answer is {}", "Answer: {}", "{}. It is shorter.",
             "Response {}: it is kinder.", "\n{}\n", "Option {} is better"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("letter", ["A", "B"])
def test_a_letter_is_read_however_it_is_spelled(spelling: str, letter: str) -> None:
    assert read_answer(spelling.format(letter)) == letter


@pytest.mark.parametrize("text", ["", "I cannot judge that.", "A better reply would be kinder", "A and B are equal",
                                  "A or B", "Both", "Neither", "Answer a question first", "A) or B)", "C", "AB"])
def test_anything_else_is_no_answer(text: str) -> None:
    assert read_answer(text) is None


@given(st.sampled_from("ab"), st.text(" \n.*()\"'", max_size=6), st.text(" \n.*()\"'", max_size=6))
def test_ornaments_around_a_letter_change_nothing(letter: str, before: str, after: str) -> None:
    assert read_answer(before + letter + after) == letter.upper()


@given(st.text(max_size=80).filter(lambda text: not set("aAbB") & set(text)))
def test_a_text_without_the_letters_is_no_answer(text: str) -> None:
    assert read_answer(text) is None


@given(st.text("AB .,:)(oroptionis\n", max_size=30))
def test_swapping_the_letters_swaps_the_answer(text: str) -> None:
    swapped = text.translate(str.maketrans("AB", "BA"))
    other = {"A": "B", "B": "A", None: None}
    assert read_answer(swapped) == other[read_answer(text)]


def test_spellings_of_a_letter_are_summed() -> None:
    top = [("A", math.log(0.5)), (" A", math.log(0.1)), ("a", math.log(0.1)), ("B", math.log(0.3))]
    assert first_is_better(top) == pytest.approx(0.7)
    assert [letter_of(token) for token in (" B", "(A", "b.", "Answer", "AB")] == ["B", "A", "B", None, None]


def test_a_missing_letter_gets_what_it_can_have_had_at_most() -> None:
    # .98 are listed, .02 are left over, but whatever is not listed is below the least listed: .01.
    top = [("A", math.log(0.97)), ("The", math.log(0.01))]
    assert first_is_better(top) == pytest.approx(0.97 / 0.98)
    # Here .005 are left over for all that is not listed.
    top = [("B", math.log(0.975)), ("The", math.log(0.02))]
    assert first_is_better(top) == pytest.approx(0.005 / 0.98)


def test_a_judge_about_to_say_something_else_gives_no_probability() -> None:
    assert first_is_better([("I", math.log(0.95)), ("A", math.log(0.03)), ("B", math.log(0.02))]) is None
    assert first_is_better([("Sorry", 0.0)]) is None


HOSTILE = ["answer ", "the ", "final ", "the answer is ", "option:", "answer", " ", "(", "\t* ", "Answer: A or ", "is ",
           "A) ", "a", "answer = ", "- ", "answer\n"]
READERS = """
import json, sys
from training.judges.answers import last_letter, read_answer
from training.judges.limits import read_limits, retry_after, seconds
from training.judges.protocol import read_reply
for words in json.load(sys.stdin):
    text = words * 100_000
    for end in ("", "x", "A", "?"):
        read_answer(text + end), last_letter(text + end), seconds(text), retry_after(text, 0.0)
        read_answer("Option A. " + text + end), last_letter("Answer: " + text + end)
    tokens = [{"token": words, "top_logprobs": [{"token": words, "logprob": -0.1}]}] * 20_000
    for thinks in (False, True):
        choice = {"message": {"content": text}, "logprobs": {"content": tokens}}
        read_reply(json.dumps({"choices": [choice]}), thinks)
"""


def test_however_long_a_judge_repeats_itself_it_is_read_in_linear_time() -> None:
    # In a process of its own: a regular expression that backtracks cannot be interrupted. It takes two seconds; what is
    # quadratic would take hours.
    subprocess.run([sys.executable, "-c", READERS], input=json.dumps([*HOSTILE, "1", "9s"]), text=True, check=True,
                   timeout=120)


def test_a_number_in_a_header_that_is_longer_than_any_number_is_no_number() -> None:
    digits = "9" * 5000
    limits = read_limits({"x-ratelimit-limit-requests": digits, "x-ratelimit-reset-requests": digits})
    assert limits is not None
    assert (limits.limit_requests, limits.reset_requests, retry_after(digits, 0.0)) == (None, None, None)


def test_a_token_that_is_longer_than_any_letter_is_none_and_is_not_kept_in_memory() -> None:
    before = answers._letter_of.cache_info().currsize
    assert [letter_of(" " * number + "A") for number in range(1000, 1100)] == [None] * 100
    assert answers._letter_of.cache_info().currsize == before
