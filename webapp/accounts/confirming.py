"""The question before something is deleted, spent or changed in great number.

It works without a script: a page asks, holds everything that was sent in its form, and sends it once more when the
person agrees.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

CONFIRMED = "confirmed"


def ask_first(request: HttpRequest, *, question: str, consequences: Sequence[str], button: str,
              back: str) -> HttpResponse | None:
    """The page that asks, or None where the person has agreed.

    Args:
        question: the heading, with the count or the name of what it is about.
        consequences: what happens, a sentence each.
        button: what the button that agrees says: a verb and what it is about.
        back: the address that the other one leads to.
    """
    if CONFIRMED in request.POST:
        return None
    fields = [(name, value) for name, values in request.POST.lists() if name != "csrfmiddlewaretoken"
              for value in values]
    return render(request, "confirm.html", {"question": question, "consequences": consequences, "button": button,
                                            "back": back, "fields": fields, "confirmed": CONFIRMED})
