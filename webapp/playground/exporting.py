"""Conversations as JSONL, a line per side: OpenAI's messages or ShareGPT's, with policies, sampling, rewards and votes.

Of a conversation that is still blind, names and rewards are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from training.dialogue import Dialogue
from webapp.playground.history import with_votes
from webapp.playground.models import Answer, Conversation, Turn

OPENAI, SHAREGPT = "openai", "sharegpt"
FORMS = (OPENAI, SHAREGPT)
_SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt"}
CHUNK = 50  # conversations read at once


def lines_of(conversations: QuerySet[Conversation], form: str) -> Iterator[bytes]:
    """The lines of conversations, read a few at a time."""
    rows = with_votes(conversations).order_by("pk").prefetch_related("turns__answers", "turns__votes")
    for conversation in rows.iterator(chunk_size=CHUNK):
        for side in (0, 1):
            yield json.dumps(record_of(conversation, side, form), ensure_ascii=False).encode() + b"\n"


def record_of(conversation: Any, side: int, form: str) -> dict[str, Any]:
    """One side of a conversation: the dialogue of the attempts that are shown, and what is known of each turn.

    Args:
        conversation: with `has_votes`, see `history.with_votes`, and its turns.
    """
    is_hidden = conversation.is_blind and not conversation.has_votes
    turns = [turn for turn in conversation.turns.all() if turn.is_shown]
    answered = [(turn, answers[side]) for turn in turns if side in (answers := {
        answer.side: answer for answer in turn.answers.all()}) and answers[side].text]
    dialogue: Dialogue = [{"role": "system", "content": conversation.system}] if conversation.system else []
    for turn, answer in answered:
        dialogue += [{"role": "user", "content": turn.prompt}, {"role": "assistant", "content": answer.text}]
    key, name = (conversation.policy_b, conversation.name_b) if side else (conversation.policy_a, conversation.name_a)
    said: dict[str, Any] = {"messages": dialogue} if form == OPENAI else {
        "conversations": [{"from": _SHAREGPT_ROLES[message["role"]], "value": message["content"]}
                          for message in dialogue]}
    return {"id": f"{conversation.pk}-{'ab'[side]}"} | said | {
        "conversation": conversation.pk, "title": conversation.title, "side": "ab"[side],
        "blind": conversation.is_blind, "policy": None if is_hidden else {"key": key, "name": name},
        "turns": [_turn(turn, answer, is_hidden) for turn, answer in answered]}


def _turn(turn: Turn, answer: Answer, is_hidden: bool) -> dict[str, Any]:
    """What is known of a turn; a vote's outcome names the side that won."""
    rewards = {} if is_hidden or answer.reward is None else {
        "reward": answer.reward, "scores": {score[0]: score[1] for score in answer.scores}}
    return {"sampling": turn.sampling, "end": answer.end, "attempt": turn.attempt} | rewards | {"votes": [
        {"outcome": vote.outcome, "blind": vote.blind, "by_principle": vote.by_principle,
         "created_at": vote.created_at.isoformat()} for vote in turn.votes.all()]}
