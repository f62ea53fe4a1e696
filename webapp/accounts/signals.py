"""Signals about accounts that other apps receive."""

from __future__ import annotations

from django.dispatch import Signal

# With `team` and `user`, its first member; inside the transaction that makes the team, so a receiver's rows are
# there with it or not at all.
team_created = Signal()
