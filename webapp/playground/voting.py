"""Votes on the answers of a turn: one a turn, by the conversation's owner; a blind one's names show after the first."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from webapp.accounts.models import User
from webapp.playground.models import ChatVote, Conversation

Outcome = ChatVote.Outcome
OF_A_PRINCIPLE = (Outcome.A, Outcome.B, Outcome.TIE)


class VoteRefused(Exception):
    """A vote that is not recorded; the message says why and what to do."""


@transaction.atomic
def chat_vote(*, conversation: Conversation, user: User, turn: int | None, outcome: str,
              by_principle: Mapping[str, str]) -> ChatVote:
    """Record a vote on a turn. The same vote again changes nothing.

    Args:
        by_principle: a, b or tie, by a principle that scored the answers; others are left out.

    Raises:
        VoteRefused: it is no vote, the turn has no answers to compare, or it has another vote already.
    """
    if outcome not in Outcome.values:
        raise VoteRefused(f"“{outcome[:20]}” is no vote. Choose A, B, tie or both bad.")
    locked = Conversation.objects.select_for_update().get(pk=conversation.pk)  # or two first votes would be blind
    voted_on = locked.turns.filter(pk=turn or 0).prefetch_related("answers").first()
    answers = list(voted_on.answers.all()) if voted_on else []
    if voted_on is None or len(answers) < 2 or not any(answer.text for answer in answers):
        raise VoteRefused("This turn has no answers to compare. Reload the page.")
    recorded = ChatVote.objects.filter(turn=voted_on, user=user).first()
    if recorded is not None:
        if recorded.outcome == outcome:
            return recorded
        raise VoteRefused(f"You have voted on this turn already: {recorded.get_outcome_display()}.")
    is_blind = locked.is_blind and not ChatVote.objects.filter(turn__conversation=locked).exists()
    scored = {score[0] for score in answers[0].scores}
    vote: ChatVote = ChatVote.objects.create(
        turn=voted_on, user=user, outcome=outcome, blind=is_blind,
        by_principle={name: side for name, side in by_principle.items() if name in scored and side in OF_A_PRINCIPLE})
    return vote
