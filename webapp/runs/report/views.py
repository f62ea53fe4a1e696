"""The report of a run, or of a comparison, as one HTML file to keep and to send. Another team's run gives 404."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from webapp.accounts.middleware import TeamRequest
from webapp.runs.compare.compared_runs import ComparedRun, NotComparable, as_compared, compared_runs
from webapp.runs.models import Run
from webapp.runs.report.contents import report_of


@require_GET
def run_report(request: TeamRequest, pk: int) -> HttpResponse:
    run = get_object_or_404(Run.objects.of(request.team).select_related("dataset", "created_by"), pk=pk)
    return _file(request, as_compared([run]), f"run-{pk}-{slugify(run.name)[:60] or 'report'}.html")


@require_GET
def compare_report(request: TeamRequest) -> HttpResponse:
    try:
        runs = compared_runs(request.team, request.GET)
    except NotComparable as problem:
        return render(request, "runs/compare.html", {"problem": problem}, status=problem.status)
    return _file(request, runs, f"runs-{'-'.join(str(compared.run.pk) for compared in runs)}.html")


def _file(request: TeamRequest, runs: list[ComparedRun], name: str) -> HttpResponse:
    report = report_of(
        team=request.team, author=str(request.user), runs=runs,
        address_of=lambda run: request.build_absolute_uri(reverse("runs:detail", args=[run.pk])))
    response = HttpResponse(render_to_string("runs/_report.html", {"report": report, "style": style()}))
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@cache
def style() -> SafeString:
    """The style of the file, inside it: its own sheet, and the colours that runs have on the page of a comparison."""
    folder = settings.BASE_DIR / "webapp" / "static" / "css"
    hues = [line for line in (folder / "compare.css").read_text().splitlines() if line.startswith(".hue-_run-")]
    sheet = (folder / "report.css").read_text() + "\n".join(hues)
    return format_html("<style>{}</style>", mark_safe(sheet))
