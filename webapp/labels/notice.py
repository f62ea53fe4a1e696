"""The notice on every page of a reviewer's own last action on many labels: its progress, then the way to undo it."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from webapp.labels.models import BulkAction

SHOWN = timedelta(hours=1)


def bulk_notice(request: HttpRequest) -> dict[str, object]:
    """A template's `bulk_action`: the newest action of this user that is under way or ended within the hour."""
    user, team = getattr(request, "user", None), getattr(request, "team", None)
    if user is None or not user.is_authenticated or not user.is_staff:
        return {}

    def newest() -> BulkAction | None:
        if not team:
            return None
        actions = BulkAction.objects.of(team).filter(by=user, hidden=False, created_at__gte=timezone.now() - 24 * SHOWN)
        action = actions.select_related("undone_by", "undoes").first()
        if action is None or action.is_active:
            return action
        recent = action.finished_at is not None and timezone.now() - action.finished_at < SHOWN
        return action if recent else None

    return {"bulk_action": SimpleLazyObject(newest)}
