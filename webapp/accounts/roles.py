"""What each role may open: owners and members everything of the team, annotators what is marked for them.

Denied by default: `webapp.accounts.middleware.TeamMiddleware` refuses an annotator every view without the mark, so that
a new page is shut until somebody decides otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from webapp.accounts.models import Membership

View = TypeVar("View", bound=Callable[..., Any])
_MARK = "open_to_annotators"
FIRST_PAGE, ANNOTATORS_FIRST_PAGE = "runs:list", "review:list"
ANNOTATORS_MAY = ("Annotators decide on the pairs that are assigned to them and vote in arenas.",
                  "Runs, data, labels, judges, boards and the team's settings are for members.")


def open_to_annotators(view: View) -> View:
    """Mark a view that annotators may open too. It shows or changes nothing but what is assigned to the person."""
    setattr(view, _MARK, True)
    return view


def may_open(membership: Membership, view: Callable[..., Any]) -> bool:
    return not membership.is_annotator or bool(getattr(view, _MARK, False))


def first_page(membership: Membership | None) -> str:
    """The name of the page that a person begins on."""
    return ANNOTATORS_FIRST_PAGE if membership and membership.is_annotator else FIRST_PAGE
