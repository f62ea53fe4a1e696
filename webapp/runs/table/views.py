"""The list of a team's runs: a table that is filtered in words."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.accounts.middleware import TeamRequest
from webapp.runs.models import Run
from webapp.runs.page.selectors import run_rows
from webapp.runs.table.fields import Fields
from webapp.runs.table.filtering import ARCHIVED, QUEUED, filtered
from webapp.runs.tidying import tags_of

PAGE = 25


@require_GET
def run_list(request: TeamRequest) -> HttpResponse:
    return render(request, "runs/list.html", _list(request) | {
        "statuses": [(QUEUED, "queued"), *Run.Status.choices, (ARCHIVED, "archived")], "tags": tags_of(request.team)})


@require_GET
def run_list_rows(request: TeamRequest) -> HttpResponse:
    """The rows of the list alone: they load themselves again while a run in them is under way."""
    return render(request, "runs/_rows.html", _list(request))


def _list(request: TeamRequest) -> dict[str, Any]:
    text, status = request.GET.get("q", "").strip(), request.GET.get("status", "")
    fields = Fields.of(request.team)
    runs, problems = filtered(request.team, fields, text, status)
    shown = runs.select_related("created_by").prefetch_related("tags").defer("file_digests")
    page = Paginator(shown, PAGE).get_page(request.GET.get("page"))
    rows = run_rows(request.team, list(page.object_list))
    query = f"?{request.GET.urlencode()}" if request.GET else ""
    return {"page": page, "rows": rows, "q": text, "status": status, "filtered": bool(text or status), "query": query,
            "is_changing": any(row.is_changing for row in rows), "problems": problems, "fields": fields}
