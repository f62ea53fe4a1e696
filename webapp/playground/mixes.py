"""Changes to saved mixes of policies."""

from __future__ import annotations

from collections.abc import Sequence

from webapp.accounts.models import Team, User
from webapp.playground.models import PolicyMix
from webapp.playground.selectors import Policies


def mix_save(*, team: Team, user: User, policies: Policies, name: str, parts: Sequence[tuple[str, float]]) -> PolicyMix:
    """Save a weighted sum as a policy of its own, to chat with and to compare.

    Raises:
        NotYours, CannotMix: the policies cannot be mixed; nothing is saved.
    """
    policies.mixed(parts)
    mix: PolicyMix = PolicyMix.objects.create(team=team, name=name, created_by=user,
                                              parts=[[key, weight] for key, weight in parts])
    return mix


def mix_delete(*, mix: PolicyMix) -> None:
    """Delete it; the policies that it is of stay."""
    mix.delete()
