"""The page of a run's kept responses, and its downloads. Another team's run gives 404."""

from __future__ import annotations

import math
from typing import NamedTuple

from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from webapp.accounts.middleware import TeamRequest
from webapp.principles.selectors import principles_by_name
from webapp.runs.downloads.streams import download
from webapp.runs.models import Run, Stage
from webapp.runs.page.selectors import weighted
from webapp.runs.rollouts.table import Query, Rollouts

PAGE = 20
LONGEST_WORDS = 200
TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


class Asked(NamedTuple):
    """A query, and what of the address could not be read."""

    query: Query
    problems: list[str]


@require_GET
def rollouts(request: TeamRequest, pk: int) -> HttpResponse:
    run = _run(request, pk)
    responses = responses_of(run)
    context = {"run": run, "responses": responses, "most": run.stored.recipe.ppo.keep_rollouts,
               "algorithm": run.stored.recipe.ppo.algorithm, "is_under_way": run.status == Run.Status.RUNNING}
    if not responses:
        return render(request, "runs/rollouts.html", context)
    asked = _asked(request, responses)
    places = responses.order(asked.query)
    page = Paginator(range(len(places)), PAGE).get_page(request.GET.get("page"))
    chosen = places[page.start_index() - 1:page.end_index()] if len(places) else places
    address = request.GET.copy()
    address.pop("page", None)
    principles = principles_by_name(run.team)
    return render(request, "runs/rollouts.html", context | {
        "query": asked.query, "problems": asked.problems, "page": page, "total": len(places),
        "rows": responses.rows(chosen) if len(chosen) else [], "sorts": responses.sorts(), "steps": responses.steps,
        "weighted": [item for item in weighted(run.recipe, principles) if item.principle.name in responses.principles],
        "own_principles": [name for name in responses.principles if name not in principles],
        "address": address.urlencode(), "is_filtered": bool(address)})


@require_GET
def rollouts_file(request: TeamRequest, pk: int, ending: str) -> StreamingHttpResponse:
    """The chosen responses as a file, in the order of the page."""
    run = _run(request, pk)
    responses = responses_of(run)
    if not responses:
        raise Http404("This run keeps no responses of its training.")
    places = responses.order(_asked(request, responses).query)
    chunks = responses.csv(places) if ending == "csv" else responses.parquet(places)
    return download(chunks, f"{slugify(run.name) or 'run'}-{run.pk}-rollouts.{ending}", TYPES[ending])


def _run(request: TeamRequest, pk: int) -> Run:
    return get_object_or_404(Run.objects.of(request.team), pk=pk)


def responses_of(run: Run) -> Rollouts:
    """What a run keeps of its training. Raises Http404 where it has no PPO stage."""
    stage = Stage.objects.filter(uses__run=run, kind="ppo").only("team_id", "identity").first()
    if stage is None:
        raise Http404("This run has no PPO stage.")
    return Rollouts(stage.folder)


def _asked(request: TeamRequest, responses: Rollouts) -> Asked:
    """What the address asks for; what cannot be read is left out and said."""
    problems: list[str] = []

    def number(name: str, words: str) -> float | None:
        text = request.GET.get(name, "").strip()
        if not text:
            return None
        try:
            value = float(text.replace("\N{MINUS SIGN}", "-"))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            problems.append(f"{words} is {text[:40]!r}, which is no number. Enter one such as 0.5.")
            return None
        return value

    def choice(name: str, choices: object, words: str, default: str) -> str:
        value = request.GET.get(name, "")
        if not value or value in choices:  # type: ignore[operator]
            return value or default
        problems.append(f"{words} {value[:40]!r} is not in this run. Choose one from the list.")
        return default

    step = number("step", "Step")
    query = Query(
        sort=choice("sort", responses.sorts(), "Column", "step"), descending=request.GET.get("order", "down") != "up",
        step=None if step is None else int(step), low=number("low", "Least"), high=number("high", "Most"),
        active=choice("active", responses.principles, "Principle", ""),
        words=request.GET.get("words", "").strip()[:LONGEST_WORDS])
    return Asked(query, problems)
