"""The page "Label quality" of a dataset, run, principle or judge, chosen by the filter in its address."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from webapp.accounts.middleware import TeamRequest
from webapp.judges.selectors import prices_by_name
from webapp.labels import label_quality, selectors
from webapp.labels.answers import answers_of
from webapp.labels.forms import LabelFilterForm
from webapp.labels.models import Label, Pair
from webapp.labels.rated_pairs import rated_pairs, with_ratings

FILTERS = ("principle", "dataset", "run", "judge")


@require_safe
def label_quality_page(request: TeamRequest) -> HttpResponse:
    form = LabelFilterForm(request.team, request.GET, selectors.filter_choices(request.team, request.GET))
    chosen = {name: value for name, value in form.chosen.items() if name in FILTERS}
    labels = selectors.labels_of(request.team, chosen) if form.is_valid() else Label.objects.none()
    principles = label_quality.principles_of(request.team)
    answers = answers_of(labels)
    matrix = label_quality.matrix(principles, answers)
    cells = [cell for row in matrix for cell in row]
    people = label_quality.with_people(principles, answers, labels, Pair.objects.of(request.team))
    people += with_ratings(principles, answers, labels, rated_pairs(request.team))
    people.sort(key=lambda line: line.principle.pk)
    return render(request, "labels/quality.html", {
        "fields": [form[name] for name in FILTERS], "query": urlencode(chosen),
        "is_filtered": bool(chosen or form.problems), "problems": form.problems,
        "lines": label_quality.lines(principles, answers, labels, prices_by_name(team=request.team)),
        "judges": label_quality.between_judges(principles, answers),
        "people": people,
        "matrix": matrix, "columns": matrix[-1] if matrix else [],
        "duplicates": [cell for cell in cells if cell.relation == "duplicate"],
        "conflicts": [cell for cell in cells if cell.relation == "conflict"],
    })
