"""The chat protocol: what a reply's body says. Pure, and safe for any body.

Every client of a server reads its replies here: the bulk path, the connection test, the Batch API. How a question is
asked is the business of `server_capabilities`. Left out: streams, tools, several choices with log-probabilities.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

import orjson

from training.judges.answers import Letter, first_is_better, last_letter, read_answer, without_thinking
from training.text import storable

OPENING_TOKENS = 32  # tokens before the letter that are searched: the reader must stay linear

_CUT = ("length", "max_tokens", "MAX_TOKENS")  # reasons to end an answer
_THINKING_KEYS = ("reasoning_content", "reasoning", "thinking")  # of a message, beside its content
_THINKING_PARTS = ("thinking", "reasoning", "redacted_thinking")  # types of a part of the content
_OPENING = re.compile(
    r"[\s\"'`*()\[\]{}:=#-]*+(?i:(?:the|final|better|my|answer|option|response|choice|is)\b[\s*:=-]*+)*+")


class Reading(NamedTuple):
    """What a reply says.

    Attributes:
        probability: that Option A is the better one, by log-probabilities; None if there are none, or no letter.
        letters: the letters that answers without log-probabilities name.
        answer_count: how many answers the reply holds.
        reason: why there is no letter, as "kind: words" (see `failure_kind`); "" if there is one.
        fault: True if the body is no reply of a chat model; a retry may succeed.
        tokens_in, tokens_out: what it is billed as; 0 if it does not say.
        model: what the server says answered.
        top: how many log-probabilities came with the answer's first token.
        truncated: True if the answer was cut off before its letter.
        thinking: the judge thought before its letter. cut: the answer ended at the token limit.
    """

    probability: float | None = None
    letters: tuple[Letter, ...] = ()
    answer_count: int = 0
    reason: str = ""
    fault: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    model: str = ""
    top: int = 0
    truncated: bool = False
    thinking: bool = False
    cut: bool = False


def read_reply(data: bytes | str, reasoning: bool = False) -> Reading:
    """What a reply's body says. Never raises: a body that is no reply is a `fault`."""
    try:
        body = parse(data)
    except ValueError:
        return Reading(reason=f"garbled: the reply is not JSON{_beginning(data)}", fault=True)
    return read_body(body, reasoning)


def _beginning(data: bytes | str) -> str:
    """The beginning of a body that is no reply: most often an HTML page with the reason."""
    text = data[:400].decode(errors="replace") if isinstance(data, bytes) else data[:400]
    words = " ".join(text.split())[:80]
    return f": {storable(words)!r}" if words else ", but empty"


def parse(data: bytes | str) -> Any:
    """A body as JSON. Python's own parser accepts what some servers write although it is no JSON: NaN, -Infinity, half
    of a character.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return orjson.loads(data)
    except ValueError:
        pass
    try:
        return json.loads(data.decode("utf-8-sig") if isinstance(data, bytes) else data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_body(body: Any, reasoning: bool = False) -> Reading:
    """The same for a parsed body, as in the output of the Batch API."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list):
        words = storable(error_words(body))[:100] if isinstance(body, (dict, list)) else ""
        return Reading(reason=f"garbled: the reply holds no answer{': ' if words else ''}{words}", fault=True)
    usage = _map(body.get("usage"))
    tokens_in, tokens_out = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    paid = Reading(tokens_in=tokens_in or max(0, _count(usage.get("total_tokens")) - tokens_out),
                   tokens_out=tokens_out, model=storable(_text(body.get("model"))[:200]), answer_count=len(choices))
    if not choices:
        return paid._replace(reason="empty: the reply holds no answer")
    first = _map(choices[0])
    answers = [_answer_text(_map(choice)) for choice in choices]
    cut = first.get("finish_reason") in _CUT
    hidden = _count(_map(usage.get("completion_tokens_details")).get("reasoning_tokens"))  # thinking that is not shown
    has_thought = any(answer.thought for answer in answers) or hidden > 0
    paid = paid._replace(thinking=has_thought, cut=cut)
    positions = _list(_map(first.get("logprobs")).get("content"))
    if positions and (top := _top(positions[-1 if reasoning or has_thought else 0])):
        paid = paid._replace(top=len(top))
        if reasoning or has_thought:
            return _after_thinking(first, answers[0].text, positions, paid)
        return _by_logprobs(first, positions, top, paid)
    return _by_texts(first, [answer.text for answer in answers], paid, reasoning)


class _AnswerText(NamedTuple):
    """The text of an answer without its thinking, and whether there was any."""

    text: str
    thought: bool


def _answer_text(choice: dict[str, Any]) -> _AnswerText:
    """What a choice says: a string, or a list of parts of which some are thinking."""
    message = _map(choice.get("message"))
    has_thought = any(_text(message.get(key)).strip() for key in _THINKING_KEYS)
    content = message.get("content") if message else choice.get("text")
    parts = content if isinstance(content, list) else [content]
    texts = []
    for part in parts:
        if isinstance(part, dict) and part.get("type") in _THINKING_PARTS:
            has_thought = True
        elif isinstance(part, dict):
            texts.append(_text(part.get("text")))
        else:
            texts.append(_text(part))
    rest, inline = without_thinking("".join(texts))
    return _AnswerText(rest, has_thought or inline)


def _by_logprobs(choice: dict[str, Any], positions: list[Any], top: list[tuple[str, float]], paid: Reading) -> Reading:
    """The probability at the token of the letter, the first after an opening phrase; `top`: of the first token."""
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
    beginning = storable(before or _text(_map(positions[0]).get("token")))
    truncated = bool(_OPENING.fullmatch(before)) and bool(before.strip() or before)
    return paid._replace(reason=f"unreadable: the judge said {beginning[:60]!r}, neither A nor B", truncated=truncated)


def _after_thinking(choice: dict[str, Any], text: str, positions: list[Any], paid: Reading) -> Reading:
    """The probability at the last token that is the letter that the judge names after thinking."""
    letter = _final_letter(text)
    if letter is not None:
        for position in reversed(positions):
            token = _text(_map(position).get("token")).strip(" .*\n\"'()").upper()
            if token == letter:
                probability = first_is_better(_top(position))
                if probability is not None:
                    return paid._replace(probability=probability)
                break
        return paid._replace(letters=(letter,))
    return paid._replace(reason=_refusal(choice) or _unreadable(text, paid))


def _by_texts(first: dict[str, Any], texts: list[str], paid: Reading, reasoning: bool) -> Reading:
    read_letter = _final_letter if paid.thinking else last_letter if reasoning else read_answer
    letters = tuple(letter for letter in map(read_letter, texts) if letter)
    if letters:
        return paid._replace(letters=letters)
    return paid._replace(reason=_refusal(first) or _unreadable(texts[0], paid))


def _final_letter(text: str) -> Letter | None:
    return last_letter(text) or read_answer(text)


def _unreadable(text: str, paid: Reading) -> str:
    reason = f"unreadable: the judge said {storable(text.strip()[-60:])!r}, neither A nor B"
    if not paid.thinking:
        return reason
    cut = " and was cut off" if paid.cut else ""
    return f"{reason}; it thinks before its letter{cut}: switch 'judge.reasoning' on"


def _refusal(choice: dict[str, Any]) -> str:
    """Why the judge declined to answer, or ""."""
    refused = _text(_map(choice.get("message")).get("refusal"))
    if refused:
        return f"refused: {storable(refused[:100])}"
    if choice.get("finish_reason") == "content_filter":
        return "refused: the server's content filter cut the answer"
    return ""


def _top(position: Any) -> list[tuple[str, float]]:
    tokens = []
    for entry in _list(position.get("top_logprobs") if isinstance(position, dict) else None):
        if isinstance(entry, dict):
            token, logprob = entry.get("token"), entry.get("logprob")
            if isinstance(token, str) and isinstance(logprob, (int, float)) and not isinstance(logprob, bool) \
                    and not math.isnan(logprob):
                tokens.append((token, max(-1e300, min(logprob, 0))))  # a whole number may be too large for a float
    return tokens


def failure_kind(error: str) -> str:
    """What kind of failure a label's error is: "refused", "unreadable", "empty", "garbled", "rejected" or "other".

    >>> failure_kind("HTTP 400: too long"), failure_kind("refused: I cannot"), failure_kind("Something else")
    ('rejected', 'refused', 'other')
    """
    head = error.partition(":")[0]
    return "rejected" if head.startswith("HTTP ") else head if head in FAILURES else "other"


def is_retryable(status: int) -> bool:
    """Whether a request that failed with this status may succeed when it is retried."""
    return status in (408, 409, 425, 429) or status >= 500


def error_message(data: bytes) -> str:
    """The message in the body of an error, whatever its shape."""
    try:
        words = error_words(parse(data))
    except ValueError:
        words = ""
    return storable((words or data[:4000].decode(errors="replace")).strip()[:300])


def error_words(body: Any) -> str:
    """The message of a parsed error: `error`, `message`, `detail` and the like, in an object or a list of one."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return error_words(body[0]) if len(body) == 1 and isinstance(body[0], dict) else ""
    if not isinstance(body, dict):
        return ""
    if isinstance(body.get("error"), (dict, list, str)):
        return error_words(body["error"]) or error_words({key: body[key] for key in body if key != "error"})
    words, codes = (" ".join(str(body[key]) for key in keys if isinstance(body.get(key), (str, int))
                            and not isinstance(body[key], bool) and body[key] != "")
                   for keys in (("message", "detail", "msg", "error_description"), ("code", "type")))
    return f"{words} ({codes})" if words and codes else words or codes


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


def scrubbed(data: bytes, key: str) -> bytes:
    """A body without the key, in case a server echoes it: done before anything is cut, or a part of it would remain."""
    return data.replace(key.encode(), b"***") if len(key) >= 8 else data


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12 else 0
