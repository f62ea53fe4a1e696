"""Answers from a file: a row per answer, with its prompt and the name of the policy that gave it.

Columns: `prompt` (a text or a list of messages), `policy` (or `model`), `answer` (or `response`, `text`); optional
`reward` (a number) and `scores` (an object of principle to standardised score, as JSON in a CSV).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, get_args

from training.data.records import read_records
from training.dialogue import Dialogue, Message, Role
from training.errors import BadData
from training.text import unstorable_reason

MOST_ANSWERS = 100_000
MOST_POLICIES = 50
LONGEST_NAME = 300
ALSO = {"policy": ("policy", "model"), "answer": ("answer", "response", "text")}
EXPECTED = "Each row needs 'prompt', 'policy' and 'answer'."


@dataclass(frozen=True)
class GivenAnswer:
    """One row: a policy's answer to a prompt."""

    prompt: Dialogue
    policy: str
    text: str
    reward: float | None = None
    scores: dict[str, float] = field(default_factory=dict)


def read_answers(file: IO[bytes], filename: str) -> Iterator[GivenAnswer]:
    """The answers of a file.

    Raises:
        BadData: the file cannot be read, or a row is no answer; it names the row.
    """
    for count, (number, record) in enumerate(read_records(file, filename), 1):
        if count > MOST_ANSWERS:
            raise BadData(f"The file has more than {MOST_ANSWERS:,} answers.", "Split it over several arenas.")
        if not isinstance(record, Mapping):
            raise BadData(f"Row {number} cannot be read: {record}.", EXPECTED)
        try:
            yield _answer(record)
        except ValueError as problem:
            raise BadData(f"Row {number}: {problem}", EXPECTED) from problem


def _answer(record: Mapping[str, Any]) -> GivenAnswer:
    policy, text = (next((record[name] for name in ALSO[role] if record.get(name) is not None), None) for role in ALSO)
    if not isinstance(policy, str) or not policy.strip():
        raise ValueError("'policy' is empty.")
    if len(policy) > LONGEST_NAME:
        raise ValueError(f"'policy' has {len(policy):,} characters; {LONGEST_NAME} are allowed.")
    if not isinstance(text, str):
        raise ValueError("'answer' is missing or no text.")
    for name, value in (("policy", policy), ("answer", text)):
        if reason := unstorable_reason(value):
            raise ValueError(f"'{name}' {reason}.")
    return GivenAnswer(_dialogue(record.get("prompt")), policy.strip(), text, _number("reward", record.get("reward")),
                       _scores(record.get("scores")))


def _dialogue(value: Any) -> Dialogue:
    if isinstance(value, str) and value.strip():
        if reason := unstorable_reason(value):
            raise ValueError(f"'prompt' {reason}.")
        return [{"role": "user", "content": value.strip()}]
    if isinstance(value, list) and value:
        return [_message(message) for message in value]
    raise ValueError("'prompt' is empty.")


def _message(value: Any) -> Message:
    role: Any = value.get("role") if isinstance(value, Mapping) else None
    content = value.get("content") if isinstance(value, Mapping) else None
    if role not in get_args(Role) or not isinstance(content, str) or unstorable_reason(content):
        raise ValueError("'prompt' is a list that holds something other than messages with 'role' and 'content'.")
    return {"role": role, "content": content}


def _number(name: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"'{name}' is {str(value)[:40]!r}, which is no number.")
    return number


def _scores(value: Any) -> dict[str, float]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except ValueError:
            raise ValueError("'scores' is not valid JSON.") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("'scores' is no object of principle to number.")
    numbers = {str(name): _number(f"scores.{name}", score) for name, score in value.items()}
    return {name: score for name, score in numbers.items() if score is not None}


def checked(answers: Iterator[GivenAnswer]) -> list[GivenAnswer]:
    """All answers, at most one of a policy to a prompt and of two policies at least.

    Raises:
        BadData: there are too few policies, or too many, or a policy answers a prompt twice.
    """
    rows: list[GivenAnswer] = []
    seen: set[tuple[str, str]] = set()
    for answer in answers:
        key = (json.dumps(answer.prompt), answer.policy)
        if key in seen:
            raise BadData(f"'{answer.policy}' answers one prompt twice: row {len(rows) + 1}.",
                          "Keep one answer of each policy to each prompt.")
        seen.add(key)
        rows.append(answer)
    policies = {answer.policy for answer in rows}
    if len(policies) < 2:
        raise BadData(f"The file has answers of {len(policies)} {'policy' if len(policies) == 1 else 'policies'}.",
                      "An arena compares at least two policies.")
    if len(policies) > MOST_POLICIES:
        raise BadData(f"The file has answers of {len(policies)} policies.",
                      f"At most {MOST_POLICIES} fit into an arena.")
    prompts: dict[str, int] = {}
    for answer in rows:
        digest = json.dumps(answer.prompt)
        prompts[digest] = prompts.get(digest, 0) + 1
    if max(prompts.values()) < 2:
        raise BadData("No prompt is answered by two policies.", "Give the answers of two policies to the same prompts.")
    return rows


