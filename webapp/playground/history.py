"""Reads stored conversations: a person's history, and one conversation as the pane shows it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from webapp.playground.chat_events import AnswersScored
from webapp.playground.conversation import (
    PrincipleChoice,
    ShownAnswer,
    ShownConversation,
    ShownTurn,
    ShownVote,
    Ticks,
    better,
    tick_of,
    with_rewards,
)
from webapp.playground.models import Answer, ChatVote, Conversation, Turn

MOST_LISTED = 100  # the rest is found by search
MOST_WORDS = 8


def history_of(team_id: int, user_id: int, words: str = "") -> QuerySet[Conversation]:
    """A person's conversations in a team, newest first. Each word must occur in the title, a prompt or an answer."""
    conversations: QuerySet[Conversation] = with_votes(
        Conversation.objects.filter(team_id=team_id, owner_id=user_id))
    for word in words.split()[:MOST_WORDS]:
        said = Turn.objects.filter(Q(prompt__icontains=word) | Q(Exists(
            Answer.objects.filter(turn=OuterRef("pk"), text__icontains=word))), conversation=OuterRef("pk"))
        conversations = conversations.filter(Q(title__icontains=word) | Q(Exists(said)))
    return conversations


def with_votes(conversations: QuerySet[Conversation]) -> QuerySet[Any]:
    """Conversations with `has_votes`: whether the names of a blind one are shown."""
    return conversations.annotate(has_votes=Exists(ChatVote.objects.filter(turn__conversation=OuterRef("pk"))))


def conversation_shown(team_id: int, user_id: int, pk: int | None, ticks: Ticks) -> ShownConversation | None:
    """A conversation of the team, with the attempt that is shown at each position. Four queries."""
    stored = Conversation.objects.filter(team_id=team_id, pk=pk).first() if pk is not None else None
    if stored is None:
        return None
    attempts: defaultdict[int, list[Turn]] = defaultdict(list)
    is_revealed = False
    for turn in stored.turns.prefetch_related("answers", "votes"):
        attempts[turn.position].append(turn)
        is_revealed = is_revealed or bool(turn.votes.all())
    turns = tuple(_turn_shown(turns, ticks) for _, turns in sorted(attempts.items()))
    return ShownConversation((stored.policy_a, stored.policy_b), (stored.name_a, stored.name_b), turns, stored.pk,
                             stored.owner_id == user_id, stored.is_blind, is_revealed, stored.system)


def _turn_shown(attempts: list[Turn], ticks: Ticks) -> ShownTurn:
    place = next((place for place, turn in enumerate(attempts, 1) if turn.is_shown), len(attempts))
    turn = attempts[place - 1]
    shown = ShownTurn(turn.prompt, pk=turn.pk, place=place, attempts=len(attempts), sampling=turn.sampling)
    answers = {answer.side: answer for answer in turn.answers.all()}
    for side in (0, 1):
        shown = shown.with_answer(side, **_answer_fields(answers.get(side)))
    rewards = _rewards(answers)
    shown = with_rewards(shown, rewards, ticks) if rewards else shown
    vote = next(iter(turn.votes.all()), None)  # its owner's: nobody else votes
    return replace(shown, vote=_vote_shown(vote, shown, ticks)) if vote else shown


def _vote_shown(vote: ChatVote, turn: ShownTurn, ticks: Ticks) -> ShownVote:
    left = turn.answers[0]
    ahead = {score.principle["name"]: score.ahead for score in left.scores if score.value is not None}
    choices = tuple(PrincipleChoice(tick_of(name, ticks), side if side == "tie" else side.upper(),
                                    better(ahead.get(name))) for name, side in vote.by_principle.items())
    return ShownVote(vote.get_outcome_display(), vote.blind, better(left.ahead if left.reward is not None else None),
                     choices)


def _answer_fields(answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return vars(ShownAnswer(end=Answer.End.STOPPED))
    return {"text": answer.text, "end": answer.end, "tokens": answer.tokens, "seconds": answer.seconds}


def _rewards(answers: dict[int, Answer]) -> AnswersScored | None:
    """The event that brought the rewards of both answers."""
    if len(answers) < 2 or any(answer.reward is None for answer in answers.values()):
        return None
    return {"kind": "rewards", "totals": [answers[side].reward or 0.0 for side in (0, 1)], "principles": [
        {"name": left[0], "scores": [left[1], right[1]], "parts": [left[2], right[2]]}
        for left, right in zip(answers[0].scores, answers[1].scores, strict=False)]}
