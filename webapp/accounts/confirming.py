"""Ask for confirmation before something is deleted, money is spent, or many rows are changed.

It works without JavaScript: a confirmation page holds all submitted fields in its form and sends them again when the
user confirms.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

CONFIRMED = "confirmed"


def ask_first(request: HttpRequest, *, question: str, consequences: Sequence[str], button: str,
              back: str) -> HttpResponse | None:
    """The confirmation page, or None if the user has already confirmed.

    Args:
        question: the heading, with the count or the name of what will change.
        consequences: what will happen, one sentence each.
        button: the label of the confirm button: a verb and its object.
        back: the address of the cancel button.
    """
    if CONFIRMED in request.POST:
        return None
    fields = [(name, value) for name, values in request.POST.lists() if name != "csrfmiddlewaretoken"
              for value in values]
    return render(request, "confirm.html", {"question": question, "consequences": consequences, "button": button,
                                            "back": back, "fields": fields, "confirmed": CONFIRMED})
