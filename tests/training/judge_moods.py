"""Servers as they are met in the world: each mood answers by one rule, the shorter option, in a manner of its own.

A mood is a script for `scripted_server.serving`. Those of `MOODS` can label every pair but the ones named with them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from tests.training.scripted_server import Reply, Script, failure, options

Body = dict[str, Any]


def letter(body: Body) -> str:
    first, second = options(body)
    return "A" if len(first) <= len(second) else "B"


def wants_logprobs(body: Body) -> bool:
    return "logprobs" in body or "top_logprobs" in body


def room(body: Body) -> int:
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or 10**9)


def reply_body(content: Any, *, logprobs: Any = None, finish: str = "stop", count: int = 1, usage: Any = None,
         **message: Any) -> Reply:
    """A completion with any content."""
    choices = [{"index": number, "finish_reason": finish, "logprobs": logprobs,
                "message": {"role": "assistant", "content": content, **message}} for number in range(count)]
    billed = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101, **(usage or {})}
    return Reply(body={"object": "chat.completion", "model": "a-model", "choices": choices, "usage": billed})


def tokens(name: str, *others: Any) -> dict[str, Any]:
    """Log-probabilities in favour of a letter, 0.9 to 0.1, with other entries beside them."""
    top = [{"token": name, "logprob": math.log(0.9), "bytes": None},
           {"token": "B" if name == "A" else "A", "logprob": math.log(0.1), "bytes": None}, *others]
    return {"content": [{**top[0], "top_logprobs": top}], "refusal": None}


def answer(body: Body) -> Reply:
    """A good answer, with log-probabilities where they are asked for."""
    name = letter(body)
    return reply_body(name, logprobs=tokens(name)) if wants_logprobs(body) else reply_body(name, count=body.get("n", 1))


def refusing(when: Callable[[Body], bool], refusal: Reply) -> Script:
    return lambda body, _: refusal if when(body) else answer(body)


def in_turn(*refusals: tuple[Callable[[Body], bool], Reply]) -> Script:
    """The first refusal that applies, else a good answer."""
    return lambda body, _: next((reply for when, reply in refusals if when(body)), answer(body))


def several(body: Body) -> bool:
    return int(body.get("n", 1)) > 1


def magistral(body: Body, _: int) -> Reply:
    if wants_logprobs(body):
        return Reply(422, {"detail": [{"loc": ["body", "top_logprobs"], "msg": "Extra inputs are not permitted"}]})
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "The other one is longer."}]}
    return reply_body([thinking, {"type": "text", "text": letter(body)}])


def thinks(needed: int, show: Callable[[str, bool], Reply]) -> Script:
    """A judge whose thinking takes so many tokens; `show` words the answer, given the letter and whether it is cut."""
    return lambda body, _: show(letter(body), room(body) < needed)


def beside(key: str) -> Callable[[str, bool], Reply]:
    """Thinking in a field beside the content."""
    return lambda name, cut: reply_body(None if cut else name, finish="length" if cut else "stop",
                                        **{key: "Let me see."})


def inline(begin: str, end: str) -> Callable[[str, bool], Reply]:
    """Thinking in the content itself."""
    return lambda name, cut: reply_body(f"{begin}Option A is", finish="length") if cut else reply_body(
        f"{begin}Option A is fine, so is B.{end}\n\nAnswer: {name}")


def hidden(name: str, cut: bool) -> Reply:
    """Thinking that is billed and never shown."""
    usage = {"completion_tokens_details": {"reasoning_tokens": 64}}
    return reply_body("", finish="length", usage=usage) if cut else reply_body(name, usage=usage)


def unseen(name: str, cut: bool) -> Reply:
    """The same without a word of it."""
    return reply_body("", finish="length") if cut else reply_body(name)


def with_logprobs_of_its_thinking(body: Body, _: int) -> Reply:
    """A reasoning parser that gives the log-probabilities of every token, those of the thinking first."""
    if room(body) < 200:
        first = {"token": "Okay", "logprob": -0.1, "top_logprobs": [{"token": "Okay", "logprob": -0.1}]}
        return reply_body(None, finish="length", logprobs={"content": [first]}, reasoning_content="Okay")
    name = letter(body)
    thought = [{"token": word, "logprob": -0.1, "top_logprobs": [{"token": word, "logprob": -0.1}]}
               for word in ("Okay", " A", " then", "\n")]
    return reply_body(name, logprobs={"content": [*thought, *tokens(name)["content"]]}, reasoning_content="Okay A then")


def not_quite_json(body: Body, _: int) -> Reply:
    """As Python's own writer puts it: -Infinity, NaN, and half of a character."""
    name = letter(body)
    odd = [{"token": "C", "logprob": float("-inf")}, {"token": "\ud83d", "logprob": float("nan")}]
    reply = reply_body(name, logprobs=tokens(name, *odd) if wants_logprobs(body) else None)
    return reply._replace(body=json.dumps(reply.body | {"model": "half \ud83d"}).encode())


def waits_by_a_date(body: Body, number: int) -> Reply:
    if number in (1, 4):  # a date has whole seconds, so each wait takes as long
        return failure(429, "slow down", Retry_After=formatdate(time.time() + 1, usegmt=True))
    return answer(body)


def filters_one(body: Body, _: int) -> Reply:
    if "Question 3?" in body["messages"][-1]["content"]:
        return failure(400, "The prompt was stopped by the content policy of this deployment.", code="content_filter")
    return answer(body)


def moderates_one(body: Body, number: int) -> Reply:
    if "Question 3?" in body["messages"][-1]["content"] and number > 4:
        return failure(403, "Your input was flagged")
    return answer(body)


NEWER = in_turn(
    (lambda body: "max_tokens" in body, failure(400, "Unsupported parameter: 'max_tokens' is not supported with this "
                                                     "model. Use 'max_completion_tokens' instead.")),
    (lambda body: "temperature" in body, failure(400, "Unsupported value: 'temperature' does not support 0.0")),
    (wants_logprobs, failure(403, "You are not allowed to request logprobs from this model")),
    (lambda body: room(body) < 200, failure(400, "Could not finish the message because max_tokens or model output "
                                                 "limit was reached. Please try again with higher max_tokens.")))

MOODS: dict[str, tuple[Script, int]] = {  # and how many of twelve pairs can be labelled
    "good": (lambda body, _: answer(body), 12),
    "403 for log-probabilities": (refusing(wants_logprobs, failure(403, "Requests for logprobs are not allowed")), 12),
    "capital letters in a list": (refusing(wants_logprobs, Reply(400, [{"error": {
        "code": 400, "message": "Logprobs is not available for models/flash", "status": "INVALID_ARGUMENT"}}])), 12),
    "log probabilities in two words": (refusing(wants_logprobs, failure(400, "Log probabilities are disabled")), 12),
    "one answer a request": (in_turn((wants_logprobs, failure(400, "`logprobs` is not supported with this model")),
                                     (several, failure(400, "'n' : number must be at most 1"))), 12),
    "one answer in other words": (in_turn((wants_logprobs, failure(400, "no logprobs here")),
                                          (several, failure(422, "multiple completions cannot be generated"))), 12),
    "one answer in no words": (in_turn((wants_logprobs, failure(400, "no logprobs here")),
                                       (several, failure(400, "Bad Request"))), 12),
    "answers in parts": (lambda body, _: reply_body([{"type": "text", "text": letter(body)}]), 12),
    "a part of thinking": (magistral, 12),
    "thinks beside the content": (thinks(200, beside("reasoning_content")), 12),
    "thinks beside it under another name": (thinks(200, beside("reasoning")), 12),
    "thinks for long": (thinks(3000, beside("thinking")), 12),
    "thinks in the content": (thinks(200, inline("<think>", "</think>")), 12),
    "thinks in brackets": (thinks(200, inline("[THINK]", "[/THINK]")), 12),
    "only the end of thinking is marked": (thinks(1, inline("", "</think>")), 12),
    "thinking is billed alone": (thinks(200, hidden), 12),
    "thinking is not told": (thinks(200, unseen), 12),
    "thinks with log-probabilities": (with_logprobs_of_its_thinking, 12),
    "a newer model": (NEWER, 12),
    "at least sixteen tokens": (refusing(lambda body: room(body) < 16, failure(
        400, "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 1.")), 12),
    "does not know max_tokens": (refusing(lambda body: "max_tokens" in body, failure(
        400, "Unknown parameter: max_tokens")), 12),
    "500 for log-probabilities": (refusing(wants_logprobs, Reply(500, b"Internal Server Error")), 12),
    "404 for log-probabilities": (refusing(wants_logprobs, failure(
        404, "No endpoints found that take the requested parameters")), 12),
    "400 for log-probabilities": (refusing(wants_logprobs, Reply(400, {})), 12),
    "400 for a temperature": (refusing(lambda body: "temperature" in body, failure(400, "invalid request")), 12),
    "not quite JSON": (not_quite_json, 12),
    "waits by a date": (waits_by_a_date, 12),
    "filters one prompt": (filters_one, 11),
    "moderates one prompt": (moderates_one, 11),
}
