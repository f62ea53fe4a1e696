"""The playground's page: the frame around the Gradio pane."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render

from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.playground.gate import PREFIX
from webapp.playground.selectors import policies_of


def page(request: TeamRequest) -> HttpResponse:
    """The pane, opened on the run that the address names; without a finished run, what to do first."""
    policies = policies_of(request.team.pk)
    run = row_key(request.GET.get("run", ""))
    keys = policies.pair_for(run)
    query = urlencode({"run": run} if run is not None else {})
    return render(request, "playground/page.html", {
        "pane": f"{PREFIX}/?{query}", "has_runs": bool(policies.runs),
        "is_demo": any(policies.speaks_demo(key) for key in keys),
    })
