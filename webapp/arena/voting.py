"""Votes: cast once, taken back, skipped.

A ballot changes only while it has no vote, so a repeated request does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.utils import timezone

from webapp.accounts.models import User
from webapp.arena.models import Arena, Ballot, PrincipleVote, Side

OUT = Ballot.Outcome
REASONS = ("I cannot tell", "I do not know the subject", "The text is broken", "I do not want to read this")


class VoteRefused(Exception):
    """A vote that is not recorded; the message says why and what to do."""


@transaction.atomic
def vote(*, ballot: Ballot, outcome: str, reason: str = "", by_principle: Mapping[int, str] | None = None) -> None:
    """Record a vote, or that the pair was skipped. The same vote again changes nothing.

    Args:
        by_principle: the side by the key of each principle voted on; others than the arena's are left out.

    Raises:
        VoteRefused: it is no vote, the arena is closed, or the pair has another vote already.
    """
    if outcome not in (OUT.A, OUT.B, OUT.TIE, OUT.BAD, OUT.SKIPPED):
        raise VoteRefused(f"“{outcome[:20]}” is no vote. Choose A, B, tie, both bad, or skip the pair.")
    arena = ballot.pairing.arena
    if not arena.is_open:
        raise VoteRefused("Voting in this arena is closed; this vote was not saved. A member can open it again.")
    skipped = outcome == OUT.SKIPPED
    changed = Ballot.objects.filter(pk=ballot.pk, outcome=OUT.OPEN).update(
        outcome=outcome, reason=reason[:300] if skipped else "", voted_at=timezone.now())
    if not changed:
        recorded = Ballot.objects.get(pk=ballot.pk)
        if recorded.outcome == outcome:
            return
        raise VoteRefused(f"You have voted on this pair already: {recorded.get_outcome_display()}. Undo takes the last "
                          "vote back.")
    if skipped or not by_principle:
        return
    known = {principle.pk: principle for principle in arena.principles.filter(pk__in=list(by_principle))}
    PrincipleVote.objects.bulk_create(
        PrincipleVote(ballot=ballot, principle=known[key], side=side) for key, side in by_principle.items()
        if key in known and side in Side.values)


@transaction.atomic
def undo(*, arena: Arena, user: User) -> Ballot | None:
    """Take back the person's last vote or skip in an arena; the pair is then the next one. None: there is none."""
    last = (Ballot.objects.select_for_update().filter(pairing__arena=arena, user=user, voted_at__isnull=False)
            .select_related("pairing__prompt").order_by("-voted_at", "-pk").first())
    if last is None:
        return None
    last.by_principle.all().delete()
    last.outcome, last.reason, last.voted_at = OUT.OPEN, "", None
    last.save(update_fields=["outcome", "reason", "voted_at"])
    return last
