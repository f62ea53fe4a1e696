"""OpenAssistant (arXiv 2304.07327): trees of messages, whose replies people have ranked, 0 for the best.

As trees, a record each, or as messages one by one, where those of a tree are neighbours. Wherever a person's message
has at least two replies, the best stands against each of the others. Replies that nobody ranked count as unrated;
deleted ones are left out, as are single ones, which are no pair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.data.formats.comparison import Completion, best_against_others
from training.data.formats.layout import Layout, Made, Numbered, Problem, Record, each
from training.data.formats.values import number_at, object_at, objects_at, text_at
from training.data.messages import UnusableRow
from training.dialogue import Dialogue, Role

_ROLES: dict[str, Role] = {"prompter": "user", "assistant": "assistant"}


def _tree(record: Record) -> Iterator[Made]:
    waiting: list[tuple[Dialogue, Mapping[str, Any]]] = [([], object_at(record, "prompt"))]
    found = False
    while waiting:
        before, message = waiting.pop()
        dialogue: Dialogue = [*before, {"role": _role(message), "content": text_at(message, "text").strip()}]
        replies = objects_at(message, "replies") if message.get("replies") else []
        replies = [reply for reply in replies if reply.get("deleted") is not True]
        for made in _ranked(dialogue, replies):
            found = True
            yield made
        waiting += [(dialogue, reply) for reply in reversed(replies)]
    if not found:
        yield Problem("no message of a person in the tree has two replies")


def _messages(records: Sequence[Numbered]) -> Iterator[Made]:
    """The messages of one tree, in any order."""
    known: dict[str, tuple[int, Record]] = {}
    replies: defaultdict[str, list[Record]] = defaultdict(list)
    for number, record in records:
        try:
            _role(record)
            text_at(record, "text")
            name = text_at(record, "message_id")
        except UnusableRow as problem:
            yield Problem(str(problem), number)
            continue
        if record.get("deleted") in (True, "True", "true"):
            continue
        known[name] = (number, record)
        if isinstance(parent := record.get("parent_id"), str) and parent:
            replies[parent].append(record)
    for name, answers in replies.items():
        if name not in known:
            number = known[answers[0]["message_id"]][0]
            yield Problem(f"its parent '{name[:60]}' is not among the messages of its tree", number)
        elif len(answers) > 1:
            yield from _ranked(_path(name, known), answers)


def _path(name: str, known: Mapping[str, tuple[int, Record]]) -> Dialogue:
    """The dialogue from the first message to this one; what a damaged file makes a circle of ends where it began."""
    path: Dialogue = []
    seen: set[str] = set()
    while name in known and name not in seen:
        seen.add(name)
        _, message = known[name]
        path.insert(0, {"role": _role(message), "content": text_at(message, "text").strip()})
        name = message.get("parent_id") if isinstance(message.get("parent_id"), str) else ""  # type: ignore[assignment]
    return path


def _role(message: Mapping[str, Any]) -> Role:
    role = _ROLES.get(str(message.get("role")))
    if role is None:
        raise UnusableRow(f"a message has the role {str(message.get('role'))[:50]!r}; known are prompter, assistant")
    return role


def _ranked(dialogue: Dialogue, replies: Sequence[Mapping[str, Any]]) -> Iterator[Made]:
    replies = [reply for reply in replies if _role(reply) == "assistant"]
    if len(replies) < 2 or dialogue[-1]["role"] != "user" or not dialogue[-1]["content"]:
        return
    ranks = [number_at(reply, "rank") for reply in replies]
    yield from best_against_others(dialogue, [Completion(text_at(reply, "text"), None if rank is None else -rank)
                                              for reply, rank in zip(replies, ranks, strict=True)])


def _looks(record: Record) -> bool:
    return isinstance(record.get("prompt"), Mapping)


TREES = Layout("openassistant-trees", "trees of messages with ranked replies (OpenAssistant)",
               ("message_tree_id", "prompt"), each(_tree), looks=_looks)
MESSAGES = Layout("openassistant", "messages with ranked replies (OpenAssistant)",
                  ("message_id", "parent_id", "text", "role", "rank", "message_tree_id"), _messages,
                  also=("deleted",), group=("message_tree_id",))
