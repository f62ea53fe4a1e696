"""Changes to stored conversations: turns start and end, attempts are paged, conversations renamed, copied, deleted."""

from __future__ import annotations

import math
from dataclasses import asdict

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from training.text import storable
from webapp.accounts.models import User
from webapp.playground.conversation import ShownAnswer, ShownConversation, ShownTurn
from webapp.playground.models import Answer, ChatVote, Conversation, Turn
from webapp.playground.stream import ChatSampling

LONGEST_TITLE = 200


@transaction.atomic
def turn_start(*, team_id: int, user_id: int, talk: ShownConversation, prompt: str, sampling: ChatSampling,
               scored_by: int | None, replaces: bool) -> Turn:
    """Store a prompt, in a new conversation if there is none yet. With `replaces` it is another attempt at the last
    turn, which is kept.

    Raises:
        Conversation.DoesNotExist: it was deleted, or belongs to somebody else.
    """
    if talk.pk is None:
        conversation = Conversation.objects.create(
            team_id=team_id, owner_id=user_id, title=title_of(prompt), policy_a=talk.policies[0],
            policy_b=talk.policies[1], name_a=talk.names[0], name_b=talk.names[1], is_blind=talk.is_blind,
            system=storable(talk.system))
    else:
        conversation = Conversation.objects.select_for_update().get(pk=talk.pk, team_id=team_id, owner_id=user_id)
        conversation.save(update_fields=["updated_at"])
    turns = conversation.turns
    last = turns.aggregate(last=Max("position"))["last"] or 0
    position = max(last, 1) if replaces else last + 1
    attempt = (turns.filter(position=position).aggregate(last=Max("attempt"))["last"] or 0) + 1
    turns.filter(position=position).update(is_shown=False)
    return turns.create(position=position, attempt=attempt, prompt=storable(prompt), sampling=asdict(sampling),
                        scored_by_id=scored_by)


@transaction.atomic
def turn_finish(*, turn_id: int, shown: ShownTurn) -> None:
    """Store both answers as far as they came. A turn that has answers, or whose conversation was deleted, stays."""
    turn = Turn.objects.select_for_update(of=("self",)).filter(pk=turn_id, answers=None).first()
    if turn is not None:
        Answer.objects.bulk_create(_answer(turn, side, shown.answers[side]) for side in (0, 1))
        Conversation.objects.filter(pk=turn.conversation_id).update(updated_at=timezone.now())


@transaction.atomic
def turn_drop(*, turn_id: int) -> None:
    """Remove a turn that failed before any answer; the attempt before it is shown again."""
    turn = Turn.objects.filter(pk=turn_id, answers=None).select_related("conversation").first()
    if turn is None:
        return
    conversation = turn.conversation
    turn.delete()
    earlier = conversation.turns.filter(position=turn.position).last()
    if earlier is not None:
        conversation.turns.filter(pk=earlier.pk).update(is_shown=True)
    elif not conversation.turns.exists():
        conversation.delete()


@transaction.atomic
def attempt_show(*, team_id: int, user_id: int, conversation_id: int, step: int) -> None:
    """Show the attempt before (-1) or after (1) the one shown at the last position; nothing beyond the ends."""
    conversation = (Conversation.objects.select_for_update()
                    .filter(pk=conversation_id, team_id=team_id, owner_id=user_id).first())
    last = conversation.turns.last() if conversation else None
    if conversation is None or last is None:
        return
    attempts = list(conversation.turns.filter(position=last.position))
    place = next((place for place, turn in enumerate(attempts) if turn.is_shown), len(attempts) - 1) + step
    if 0 <= place < len(attempts):
        conversation.turns.filter(position=last.position).update(is_shown=False)
        conversation.turns.filter(pk=attempts[place].pk).update(is_shown=True)


def conversation_rename(*, conversation: Conversation, title: str) -> None:
    """Rename it; its place in the history stays."""
    Conversation.objects.filter(pk=conversation.pk).update(title=title)


def conversation_delete(*, conversation: Conversation) -> None:
    conversation.delete()


@transaction.atomic
def conversation_copy(*, conversation: Conversation, user: User) -> Conversation:
    """A copy of its shown turns that belongs to the user, without votes. It is blind while no name was shown."""
    was_voted_on = ChatVote.objects.filter(turn__conversation=conversation).exists()
    copy = Conversation.objects.create(
        team_id=conversation.team_id, owner=user, title=f"{conversation.title[:LONGEST_TITLE - 7]} (copy)",
        policy_a=conversation.policy_a, policy_b=conversation.policy_b, name_a=conversation.name_a,
        name_b=conversation.name_b, is_blind=conversation.is_blind and not was_voted_on, system=conversation.system)
    for turn in conversation.turns.filter(is_shown=True).prefetch_related("answers"):
        answers = list(turn.answers.all())
        turn.pk, turn.conversation, turn.attempt = None, copy, 1
        turn.save(force_insert=True)
        for answer in answers:
            answer.pk, answer.turn = None, turn
        Answer.objects.bulk_create(answers)
    return copy


def title_of(prompt: str) -> str:
    """A conversation's title: the beginning of its first prompt, on one line.

    >>> title_of("  What is\\n the capital? ")
    'What is the capital?'
    """
    words = " ".join(storable(prompt).split())
    return words if len(words) <= 80 else f"{words[:79].rstrip()}…"


def _answer(turn: Turn, side: int, shown: ShownAnswer) -> Answer:
    values = (score.value for score in shown.scores if score.value is not None)
    numbers = [shown.reward, *values, *(score.part for score in shown.scores)]
    is_scored = all(number is not None and math.isfinite(number) for number in numbers)
    return Answer(turn=turn, side=side, text=storable(shown.text), end=shown.end or Answer.End.STOPPED,
                  tokens=shown.tokens, seconds=shown.seconds, reward=shown.reward if is_scored else None,
                  scores=[[score.principle["name"], score.value, score.part] for score in shown.scores]
                  if is_scored else [])
