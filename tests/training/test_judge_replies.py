"""Whatever body a server sends is understood or counted: nothing breaks the reader, and no letter is invented."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import JudgeSettings
from training.judges.answers import last_letter
from training.judges.protocol import FAILURES, failure_kind, is_retryable, read_reply
from training.judges.server_capabilities import ServerCapabilities

ASKED = JudgeSettings(kind="openai", model="m")


def body(*tokens: tuple[str, dict[str, float]], text: str = "", **choice: Any) -> dict[str, Any]:
    """A reply with log-probabilities: at each place a token, and the shares of the likeliest tokens there."""
    content = [{"token": token, "logprob": -0.1, "top_logprobs": [
        {"token": name, "logprob": math.log(share)} for name, share in top.items()]} for token, top in tokens]
    reply = text or "".join(token for token, _ in tokens)
    return {"model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 1},
            "choices": [{"message": {"content": reply}, "logprobs": {"content": content} if tokens else None,
                         **choice}]}


def read(value: Any, reasoning: bool = False) -> Any:
    return read_reply(json.dumps(value), reasoning)


def test_a_letter_is_read_by_its_probabilities_however_it_is_spelled() -> None:
    assert read(body((" A", {" A": 0.6, "A": 0.1, "b": 0.3}))).probability == pytest.approx(0.7)


def test_thinking_that_was_cut_off_names_no_letter_whatever_its_last_line_is() -> None:
    reading = read(body(text="<think>Both are short.\nAnswer: A", finish_reason="length"))
    assert reading.letters == () and reading.thinking and "switch 'judge.reasoning' on" in reading.reason


def test_what_may_pass_is_tried_again_and_a_refusal_is_not() -> None:
    assert all(map(is_retryable, (408, 409, 425, 429, 500, 503)))
    assert not any(map(is_retryable, (400, 401, 403, 404, 422)))


def test_where_a_server_tells_the_total_alone_the_rest_was_read() -> None:
    reading = read(body(("A", {"A": 1.0})) | {"usage": {"total_tokens": 40, "completion_tokens": 3}})
    assert (reading.tokens_in, reading.tokens_out) == (37, 3)


def test_a_letter_that_comes_after_an_opening_is_read_where_it_stands() -> None:
    reading = read(body(("Option", {"Option": 0.9}), (" ", {" ": 0.9}), ("B", {"B": 0.8, "A": 0.2})))
    assert reading.probability == pytest.approx(0.2)


def test_an_opening_that_was_cut_off_is_asked_again_with_more_room() -> None:
    capabilities = ServerCapabilities()
    sent = capabilities.body(ASKED, "?")
    reading = read(body(("Option", {"Option": 0.9})))
    assert reading.truncated and not capabilities.accepts(reading, sent)
    assert capabilities.body(ASKED, "?")["max_tokens"] == 8
    assert capabilities.accepts(reading, capabilities.body(ASKED, "?"))  # and not a third time


def test_a_letter_after_other_words_is_none() -> None:
    reading = read(body(("A", {"The": 0.99}), ("B", {"B": 0.9, "A": 0.1})))
    assert reading.probability is None or reading.probability < 0.5
    assert read(body(("I", {"I": 0.99}), (" A", {"A": 0.9}))).probability is None


@pytest.mark.parametrize(("value", "kind"), [
    (body(text="I will not", refusal=None) | {}, "unreadable"),
    ({"choices": [{"message": {"content": None, "refusal": "I cannot help"}}]}, "refused"),
    ({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}, "refused"),
    ({"choices": []}, "empty"),
    ({"error": {"message": "overloaded"}}, "garbled"),
    ([], "garbled"), (None, "garbled"), ("A", "garbled"), ({"choices": "A"}, "garbled"),
])
def test_what_is_no_letter_is_counted_by_its_kind(value: Any, kind: str) -> None:
    reading = read(value)
    assert reading.probability is None and reading.letters == ()
    assert failure_kind(reading.reason) == kind and kind in FAILURES
    assert reading.fault == (kind == "garbled")


def test_what_was_billed_is_counted_with_a_failure_too() -> None:
    reading = read({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}, "model": "m"})
    assert (reading.tokens_in, reading.model) == (9, "m")


def test_a_judge_that_thinks_is_read_by_its_last_line() -> None:
    thought = [("A", {"A": 0.9, "B": 0.1}), (" is longer.\nAnswer:", {"x": 1.0}), (" B", {"B": 0.75, "A": 0.25})]
    assert read(body(*thought), reasoning=True).probability == pytest.approx(0.25)
    assert read(body(text="A is longer.\nAnswer: B"), reasoning=True).letters == ("B",)
    assert read(body(text="Answer: A\nor is it?"), reasoning=True).letters == ()
    assert [last_letter(text) for text in ("So the answer is **B**.", "neither answer is B", "The answer is not A",
                                           "A", "I like A", "")] == ["B", None, None, "A", None, None]


KEYS = ("choices", "message", "content", "logprobs", "top_logprobs", "token", "logprob", "usage", "prompt_tokens",
        "completion_tokens", "total_tokens", "error", "refusal", "finish_reason", "model")
WORDS = ("", " ", "A", "B", "Option", "The answer is", "Neither", "I cannot", "\n", "content_filter", "-1", "\ud83d")
FREE = ("", " ", "Option", "The", "Yes", "neither", "\n", "Sorry, I cannot", "C", "both?", "**")  # of both letters


def anything(draw: random.Random, words: tuple[str, ...], depth: int = 4) -> Any:
    """A JSON value, often of the names that a reply has."""
    kind = draw.randrange(9 if depth else 6)
    if kind > 6:
        return {draw.choice(KEYS): anything(draw, words, depth - 1) for _ in range(draw.randrange(5))}
    if kind == 6:
        return [anything(draw, words, depth - 1) for _ in range(draw.randrange(4))]
    return (None, draw.random() < 0.5, draw.randrange(-3, 10**draw.randrange(1, 25)), draw.uniform(-50, 5),
            draw.choice(words), draw.choice((1e308, -1e308, -0.0)))[kind]


def spoiled(draw: random.Random) -> Any:
    """A reply of the right shape, but for one of its parts."""
    value = body(("A", {"A": 0.5, "B": 0.4}), ("B", {"B": 0.9}))
    part: Any = value
    while isinstance(part, dict | list) and part:
        key = draw.choice(list(part) if isinstance(part, dict) else list(range(len(part))))
        if draw.random() < 0.3 or not isinstance(part[key], dict | list):
            part[key] = anything(draw, WORDS)
            break
        part = part[key]
    return value


# A hundred seeds of a hundred bodies: hypothesis draws values of this size a hundred times as slowly.
@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_ten_thousand_bodies_of_any_shape_do_not_break_the_reader(seed: int) -> None:
    draw = random.Random(seed)
    for number in range(100):
        value = json.dumps(spoiled(draw) if number % 2 else anything(draw, WORDS))
        data = value.encode() if number % 10 else value.encode()[: draw.randrange(len(value) + 1)]
        reading = read_reply(data, reasoning=number % 3 == 0)
        assert reading.probability is None or 0 <= reading.probability <= 1
        assert reading.probability is not None or reading.letters or failure_kind(reading.reason) != "other"
        assert reading.tokens_in >= 0 and reading.tokens_out >= 0


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_no_letter_is_invented_in_ten_thousand_bodies_that_hold_none(seed: int) -> None:
    draw = random.Random(seed)
    for number in range(100):
        if number % 2:
            value = anything(draw, FREE)
        else:
            tokens = [(draw.choice(FREE), {draw.choice(FREE): draw.uniform(0.01, 1) for _ in range(3)})
                      for _ in range(draw.randrange(4))]
            value = body(*tokens, text=draw.choice(FREE))
        reading = read(value, reasoning=number % 3 == 0)
        assert reading.probability is None and reading.letters == ()


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    assert read_reply(data).fault


def test_a_reply_that_was_cut_off_is_a_fault_wherever_it_was_cut() -> None:
    reply_body = json.dumps(body(("A", {"A": 1.0}))).encode()
    assert all(read_reply(reply_body[:cut]).fault for cut in range(len(reply_body)))
