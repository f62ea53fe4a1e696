"""The notice about a reviewer's own last action on many labels, on every page: its progress, then an undo button."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from webapp.labels.models import BulkAction

SHOWN = timedelta(hours=1)


def bulk_notice(request: HttpRequest) -> dict[str, object]:
    """Sets `bulk_action` in templates: this user's newest action that is running or ended within the last hour."""
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
