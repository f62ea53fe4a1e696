"""The list of a team's runs: a table that is filtered in words, with columns, an order and groups in its address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from webapp.accounts.middleware import TeamRequest
from webapp.runs.downloads.streams import download
from webapp.runs.models import Run
from webapp.runs.page.selectors import run_rows
from webapp.runs.table.addresses import KEPT, changed, heads, name_head
from webapp.runs.table.columns import Column, cells, columns_of, values_by_run
from webapp.runs.table.fields import ALIASES, Fields
from webapp.runs.table.files import TYPES, as_csv, as_parquet, names_of
from webapp.runs.table.filtering import ARCHIVED, PAUSED, QUEUED, filtered
from webapp.runs.table.groups import group_field, grouped, narrowed
from webapp.runs.table.many_views import undoable
from webapp.runs.table.saved_views import views_of
from webapp.runs.table.sorting import Order, order_of, ordered
from webapp.runs.tidying import tags_of

PAGE, GROUPS = 25, 100


@dataclass
class View:
    """What an address asks for: which runs in which order, and which columns and groups."""

    fields: Fields
    runs: QuerySet[Run]
    columns: list[Column]
    order: Order
    group: str
    problems: list[str] = field(default_factory=list)


@require_GET
def run_list(request: TeamRequest) -> HttpResponse:
    if added := request.GET.get("add", "").strip():
        return redirect(_with_column(request, added))
    view = _view(request)
    context = _frame(request, view)
    if view.group:
        return render(request, "runs/list.html", context | _groups(request, view))
    return render(request, "runs/list.html", context | _rows(request, view))


@require_GET
def run_list_rows(request: TeamRequest) -> HttpResponse:
    """The rows of the list alone: they load themselves again while a run in them is under way."""
    return render(request, "runs/_rows.html", _rows(request, _view(request)))


@require_GET
def run_list_file(request: TeamRequest, ending: str) -> StreamingHttpResponse:
    """Every run that matches, with the columns of the page."""
    view = _view(request)
    make = as_csv if ending == "csv" else as_parquet
    chunks = make(request.team, view.fields, view.runs, names_of(view.fields, view.columns))
    return download(chunks, f"runs.{ending}", TYPES[ending])


def _view(request: TeamRequest) -> View:
    asked = request.GET
    fields = Fields.of(request.team)
    runs, problems = filtered(request.team, fields, asked.get("q", "").strip(), asked.get("status", ""))
    columns, unknown = columns_of(fields, asked.get("columns", ""))
    order, unsorted = order_of(fields, asked.get("sort", ""))
    group, ungrouped = group_field(fields, asked.get("group", ""))
    return View(fields, ordered(runs, fields, order), columns, order, group,
                [*problems, *unknown, *unsorted, *ungrouped])


def _frame(request: TeamRequest, view: View) -> dict[str, Any]:
    """What stands around the table."""
    asked = {name: request.GET.get(name, "") for name in KEPT}
    address = changed(request.GET)
    saved = views_of(request.team)
    return {
        "saved_views": saved, "current_view": next(
            (each for each in saved if changed(QueryDict(each.query.removeprefix("?"))) == address), None),
        "undo": undoable(request), "back": request.get_full_path(),
        "q": asked["q"].strip(), "status": asked["status"], "filtered": any(asked.values()), "problems": view.problems,
        "statuses": [(QUEUED, "queued"), *Run.Status.choices, (PAUSED, "paused"), (ARCHIVED, "archived")],
        "tags": tags_of(request.team), "asked": asked, "group": view.group,
        "field_names": [*ALIASES, *view.fields.names],
        "heads": heads(request.GET, view.fields, view.columns, view.order),
        "first_head": name_head(request.GET, view.order), "address": address,
        "usual_columns": changed(request.GET, columns=""), "ungrouped": changed(request.GET, group="")}


def _rows(request: TeamRequest, view: View) -> dict[str, Any]:
    shown = view.runs.select_related("created_by").prefetch_related("tags").defer("file_digests")
    page = Paginator(shown, PAGE).get_page(request.GET.get("page"))
    runs = list(page.object_list)
    rows = run_rows(request.team, runs)
    asked = [column.name for column in view.columns if column.kind == "value"]
    values = values_by_run(request.team, view.fields, runs, asked) if asked else {}
    query = f"?{request.GET.urlencode()}" if request.GET else ""
    lines = [(row, cells(view.columns, values.get(row.run.pk, {}))) for row in rows]
    return {"page": page, "rows": rows, "query": query, "lines": lines,
            "numeric": {cell.column.name for _, of_run in lines for cell in of_run if cell.is_number},
            "is_changing": any(row.is_changing for row in rows)}


def _groups(request: TeamRequest, view: View) -> dict[str, Any]:
    by = grouped(request.team, view.fields, view.runs, view.group, view.columns)
    page = Paginator(by.groups, GROUPS).get_page(request.GET.get("page"))
    query = request.GET.get("q", "").strip()
    return {"page": page, "by": by, "groups": [
        (group, changed(request.GET, group="", q=narrowed(query, group)) if group.query else "")
        for group in page.object_list]}


def _with_column(request: TeamRequest, added: str) -> str:
    """The address with one more column; the usual ones stand before the first that is added."""
    names = request.GET.get("columns", "") or ",".join(column.name for column in columns_of(Fields({}), "")[0])
    return f"{request.path}{changed(request.GET, columns=f'{names},{added}')}"
