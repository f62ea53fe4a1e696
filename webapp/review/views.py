"""Assignments of labels for review: the list, a new one, how far people are and agree, what they differ on."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.accounts.roles import open_to_annotators
from webapp.labels.differences import marked
from webapp.labels.forms import LabelFilterForm
from webapp.labels.selectors import filter_choices
from webapp.labels.services import may_review
from webapp.labels.uses import uses_of
from webapp.review import assigning, deciding, selectors
from webapp.review.forms import AssignForm
from webapp.review.models import ReviewAssignment

PAGE = 50


@open_to_annotators
@require_safe
def assignment_list(request: TeamRequest) -> HttpResponse:
    """One's own queues; members see those of the team below."""
    own = list(selectors.assignments_for(request.team, request.user)[:PAGE])
    mine = selectors.progress_by_assignment(own, request.user)
    context = {"own": [(assignment, mine[assignment.pk]) for assignment in own]}
    if request.membership.is_annotator:
        return render(request, "review/list.html", context)
    page = Paginator(selectors.assignments_of(request.team), PAGE).get_page(request.GET.get("page"))
    progress = selectors.progress_by_assignment(list(page))
    return render(request, "review/list.html", context | {
        "page": page, "rows": [(assignment, progress.get(assignment.pk)) for assignment in page],
        "may_review": may_review(request.user, request.team)})


@require_http_methods(["GET", "HEAD", "POST"])
def assignment_new(request: TeamRequest) -> HttpResponse:
    """Assign the labels that match the filter in the address."""
    _require_reviewer(request)
    label_filter = LabelFilterForm(request.team, request.GET, filter_choices(request.team, request.GET))
    if problems := [*label_filter.problems, *label_filter.unread({"page"})]:
        messages.error(request, " ".join([*problems, "Nothing was assigned."]))
        return redirect("labels:list")
    filters = {name: value for name, value in label_filter.chosen.items() if name != "sort"}
    form = AssignForm(request.POST or None, team=request.team)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        dealing = assigning.Dealing(
            people=list(values["people"]), per_person=values["per_person"], overlap_every=values["overlap_every"],
            overlap_people=values["overlap_people"], order=values["order"], blind=values["blind"], filters=filters)
        try:
            assignment = assigning.assignment_create(team=request.team, by=request.user, name=values["name"],
                                                     dealing=dealing)
            return redirect("review:detail", pk=assignment.pk)
        except ValidationError as error:
            form.add_error(None, error)
    return render(request, "review/new.html", {
        "form": form, "total": assigning.labels_to_assign(request.team, filters).count(),
        "in_words": label_filter.in_words, "query": urlencode(filters)}, status=422 if form.errors else 200)


@require_safe
def assignment_detail(request: TeamRequest, pk: int) -> HttpResponse:
    """How far each person is, how far people agree, and what they differ on."""
    assignment = get_object_or_404(selectors.assignments_of(request.team), pk=pk)
    people = selectors.progress_by_person(assignment)
    return render(request, "review/detail.html", {
        "assignment": assignment, "people": people, "open": sum(person.open for person in people),
        "agreements": selectors.agreement_by_principle(assignment), "outcomes": selectors.outcomes_in(assignment),
        "differing": selectors.differing(assignment).count(), "may_review": may_review(request.user, request.team),
        "is_mine": assignment.items.filter(user=request.user).exists()})


@require_POST
def assignment_cancel(request: TeamRequest, pk: int) -> HttpResponse:
    assignment = get_object_or_404(ReviewAssignment.objects.of(request.team), pk=pk)
    _require_reviewer(request)
    question = ask_first(request, question=f"Cancel the rest of “{assignment.name}”?", button="Cancel the rest",
                         back=reverse("review:detail", args=[pk]),
                         consequences=["What nobody has decided yet leaves all queues and can be assigned again.",
                                       "Every decision stays."])
    if question is not None:
        return question
    canceled = assigning.assignment_cancel(assignment=assignment, by=request.user)
    messages.success(request, f"{canceled:,} labels left the queues.")
    return redirect("review:detail", pk=pk)


@require_http_methods(["GET", "HEAD", "POST"])
def adjudicate(request: TeamRequest, pk: int) -> HttpResponse:
    """The pairs on which people differ, one after another; the decision becomes the label's correction."""
    assignment = get_object_or_404(ReviewAssignment.objects.of(request.team), pk=pk)
    if request.method == "POST":
        _require_reviewer(request)
        differing = get_object_or_404(selectors.labels_in(assignment), pk=row_key(request.POST.get("label")))
        try:
            deciding.adjudicate(assignment=assignment, label=differing, value=request.POST.get("value", ""),
                                by=request.user)
            messages.success(request, "Saved as the label’s correction.")
        except deciding.DecisionRefused as refusal:
            messages.error(request, str(refusal))
        return redirect("review:adjudicate", pk=pk)
    label = selectors.label_to_adjudicate(assignment)
    context = {"assignment": assignment, "label": label, "left": selectors.differing(assignment).count(),
               "may_review": may_review(request.user, request.team)}
    if label is not None:
        text = label.pair.text
        pieces_a, pieces_b = marked(text.response_a, text.response_b)
        context |= {"principle": label.principle_version.principle, "statement": label.principle_version.statement,
                    "earlier": text.prompt[:-1], "last": text.prompt[-1:], "pieces_a": pieces_a, "pieces_b": pieces_b,
                    "choices": selectors.choices_on(assignment, label.pk), "judged": selectors.judge_in_words(label),
                    "uses": uses_of(label)}
    return render(request, "review/adjudicate.html", context)


def _require_reviewer(request: TeamRequest) -> None:
    if not may_review(request.user, request.team):
        raise PermissionDenied("Only members who are staff can assign labels and adjudicate.")
