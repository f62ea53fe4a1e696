"""The chat protocol: what is sent to ask one question, and what a reply's body says. Pure, and no body breaks it.

Every client of a server builds its requests and reads its replies here: the bulk path, the SDK, the Batch API. A
`Dialect` holds what a server has shown that it understands. Left out: streams, tools, several choices with log-probs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from training.config import Judge
from training.feedback.answers import Letter, first_is_better, last_letter, read_answer

TOP = 20  # log-probabilities asked for: what OpenAI gives at most
TOP_OF_SOME = 5  # what some other servers give at most
ROOM = 8  # tokens for "Option B" where answers are read as text
THINKING = 1024  # tokens for a judge that thinks before its letter
MISWORDED = (400, 404, 422)  # statuses with which servers refuse a parameter

OPENING_TOKENS = 32  # of an answer, before its letter, that are looked at: the reader must stay linear in the reply

_OPENING = re.compile(
    r"[\s\"'`*()\[\]{}:=#-]*+(?i:(?:the|final|better|my|answer|option|response|choice|is)\b[\s*:=-]*+)*+")


class Reading(NamedTuple):
    """What a reply says.

    Attributes:
        probability: that Option A is the better one, by log-probabilities; None if there are none, or no letter.
        letters: the letters that answers without log-probabilities name.
        drawn: how many answers the reply holds.
        reason: why there is no letter, as "kind: words" (see `failure_kind`); "" if there is one.
        fault: True if the reply is not one of a chat model: it may be another when asked again.
        tokens_in, tokens_out: what it is billed as; 0 if it does not say.
        model: what the server says answered.
        top: how many log-probabilities came with the answer's first token.
        opening: True if the answer was cut off before it came to its letter.
    """

    probability: float | None = None
    letters: tuple[Letter, ...] = ()
    drawn: int = 0
    reason: str = ""
    fault: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    model: str = ""
    top: int = 0
    opening: bool = False


@dataclass
class Dialect:
    """What a server understands, as its refusals have shown.

    Attributes:
        top: log-probabilities to ask for; None once the server has shown that it gives none.
        limit: how it calls the longest answer. temperature: whether it lets one choose it.
        room: tokens of an answer; more than one where a letter comes after "Option".
    """

    top: int | None = TOP
    limit: str = "max_tokens"
    temperature: bool = True
    room: int = 1

    def body(self, settings: Judge, text: str, draws: int = 0) -> dict[str, Any]:
        """The request for one question; `draws` answers where log-probabilities cannot be had."""
        room = THINKING if settings.reasoning else self.room if self.top is not None else ROOM
        body: dict[str, Any] = {"model": settings.model, "messages": [{"role": "user", "content": text}],
                                self.limit: room}
        if self.temperature:
            body["temperature"] = 0.0 if self.top is not None else 1.0
        if self.top is not None:
            body["logprobs"], body["top_logprobs"] = True, self.top
        elif draws:
            body["n"] = draws
        return body

    def learn(self, status: int, refusal: str, body: dict[str, Any]) -> bool:
        """Whether a refused request can be asked in other words, which are then the ones to use from now on.

        `body` is what was refused: many are in flight, and each lesson counts once.
        """
        if status not in MISWORDED:
            return False
        if "max_completion_tokens" in refusal and "max_tokens" in body:
            self.limit = "max_completion_tokens"
            return True
        if "logprobs" in refusal and "top_logprobs" in body:
            if body["top_logprobs"] > TOP_OF_SOME:
                self.top = TOP_OF_SOME if self.top is not None else None
            else:
                self.top = None
            return True
        if "temperature" in refusal and "temperature" in body:
            self.temperature = False
            return True
        return False

    def understood(self, reading: Reading, body: dict[str, Any]) -> bool:
        """Whether a reply answers what was asked; if not, the next request is worded otherwise."""
        if "top_logprobs" in body and not reading.fault and reading.drawn and not reading.top:
            self.top = None
            return False  # one letter at temperature 0 would say 0 or 1 of what is 0.6
        if reading.opening and body[self.limit if self.limit in body else "max_tokens"] < ROOM:
            self.room = ROOM
            return False
        return True


def read_reply(data: bytes | str, reasoning: bool = False) -> Reading:
    """What a reply's body says. Whatever the body is, this returns: a body that is no reply is a `fault`."""
    try:
        body = orjson.loads(data)
    except (orjson.JSONDecodeError, ValueError, TypeError):
        return Reading(reason="garbled: the reply is not JSON", fault=True)
    return read_body(body, reasoning)


def read_body(body: Any, reasoning: bool = False) -> Reading:
    """The same of a body that is parsed already, as in the output of the Batch API."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list):
        said = _text(_map(_map(body).get("error")).get("message"))
        return Reading(reason=f"garbled: the reply holds no answer{': ' + said[:100] if said else ''}", fault=True)
    usage = _map(body.get("usage"))
    tokens_in, tokens_out = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    paid = Reading(tokens_in=tokens_in or max(0, _count(usage.get("total_tokens")) - tokens_out),
                   tokens_out=tokens_out, model=_text(body.get("model"))[:200], drawn=len(choices))
    if not choices:
        return paid._replace(reason="empty: the reply holds no answer")
    first = _map(choices[0])
    positions = _list(_map(first.get("logprobs")).get("content"))
    if positions and (top := _top(positions[-1 if reasoning else 0])):
        return _by_logprobs(first, positions, top, paid._replace(top=len(top)), reasoning)
    return _by_texts(choices, paid, reasoning)


def _by_logprobs(choice: dict[str, Any], positions: list[Any], top: list[tuple[str, float]], paid: Reading,
                 reasoning: bool) -> Reading:
    """The probability at the token that is the letter: the first after an opening, or the last after thinking.

    `top` are the log-probabilities of the first position, or of the last where the judge thinks.
    """
    if reasoning:
        return _after_thinking(choice, positions, paid)
    before = ""
    for place, position in enumerate(positions[:OPENING_TOKENS]):
        if not _OPENING.fullmatch(before):
            break
        probability = first_is_better(_top(position) if place else top)
        if probability is not None:
            return paid._replace(probability=probability)
        before += _text(_map(position).get("token"))
    if refused := _refusal(choice):
        return paid._replace(reason=refused)
    said = before or _text(_map(positions[0]).get("token"))
    opening = bool(_OPENING.fullmatch(before)) and bool(before.strip() or before)
    return paid._replace(reason=f"unreadable: the judge said {said[:60]!r}, neither A nor B", opening=opening)


def _after_thinking(choice: dict[str, Any], positions: list[Any], paid: Reading) -> Reading:
    text = _text(_map(choice.get("message")).get("content"))
    letter = last_letter(text)
    if letter is not None:
        for position in reversed(positions):
            token = _text(_map(position).get("token")).strip(" .*\n\"'()").upper()
            if token == letter:
                probability = first_is_better(_top(position))
                if probability is not None:
                    return paid._replace(probability=probability)
                break
        return paid._replace(letters=(letter,))
    return paid._replace(reason=_refusal(choice) or _unreadable(text))


def _by_texts(choices: list[Any], paid: Reading, reasoning: bool) -> Reading:
    texts = [_text(_map(_map(choice).get("message")).get("content")) for choice in choices]
    read = last_letter if reasoning else read_answer
    letters = tuple(letter for letter in map(read, texts) if letter)
    if letters:
        return paid._replace(letters=letters)
    return paid._replace(reason=_refusal(_map(choices[0])) or _unreadable(texts[0]))


def _unreadable(text: str) -> str:
    end = text.strip()[-60:]
    return f"unreadable: the judge said {end!r}, neither A nor B"


def _refusal(choice: dict[str, Any]) -> str:
    """The reason why a judge would not say, if it said that it would not."""
    refused = _text(_map(choice.get("message")).get("refusal"))
    if refused:
        return f"refused: {refused[:100]}"
    if choice.get("finish_reason") == "content_filter":
        return "refused: the server's content filter cut the answer"
    return ""


def _top(position: Any) -> list[tuple[str, float]]:
    found = []
    for entry in _list(position.get("top_logprobs") if isinstance(position, dict) else None):
        if isinstance(entry, dict):
            token, logprob = entry.get("token"), entry.get("logprob")
            if isinstance(token, str) and isinstance(logprob, (int, float)) and not isinstance(logprob, bool) \
                    and not math.isnan(logprob):
                found.append((token, logprob))
    return found


def failure_kind(error: str) -> str:
    """What kind of failure a label's error is: "refused", "unreadable", "empty", "garbled", "rejected" or "other".

    >>> failure_kind("HTTP 400: too long"), failure_kind("refused: I cannot"), failure_kind("Something else")
    ('rejected', 'refused', 'other')
    """
    head = error.partition(":")[0]
    return "rejected" if head.startswith("HTTP ") else head if head in FAILURES else "other"


def may_pass(status: int) -> bool:
    """Whether a request that was answered with this status may be answered otherwise when it is asked again."""
    return status in (408, 409, 425, 429) or status >= 500


def said_by(data: bytes) -> str:
    """What the body of an error says, whatever its shape."""
    try:
        body = orjson.loads(data)
    except (orjson.JSONDecodeError, ValueError):
        body = None
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        words = [error.get(key) for key in ("message", "detail", "code", "type")]
        said = " ".join(str(word) for word in words if isinstance(word, (str, int)) and not isinstance(word, bool))
    else:
        said = error if isinstance(error, str) else ""
    return (said or data.decode(errors="replace")).strip()[:300]


FAILURES = {
    "refused": "the judge declined to say",
    "unreadable": "the answer names no letter",
    "empty": "the reply holds no answer",
    "garbled": "the reply is none of a chat model",
    "rejected": "the server refused the request",
    "unavailable": "the server did not answer",
    "other": "something else",
}


def safe(message: str, key: str) -> str:
    """A server's message, short and without the key."""
    return (message.replace(key, "***") if key else message)[:200]


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12 else 0
