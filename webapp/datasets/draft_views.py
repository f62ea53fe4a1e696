"""Pages and actions of a draft: exclude rows and put them back, edit a row, discard the draft, save it as a version."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.datasets import drafts
from webapp.datasets.models import Dataset, DatasetRow, DatasetText, EditedRow
from webapp.datasets.row_form import MOST_CHARACTERS, MOST_MESSAGES, RowForm, RowTexts
from webapp.datasets.row_pages import RowFilter, matching


def _ready(request: TeamRequest, pk: int) -> Dataset:
    return get_object_or_404(Dataset.objects.of(request.team), pk=pk, status=Dataset.Status.READY)


def _back(request: TeamRequest, pk: int, number: int | None = None) -> HttpResponseRedirect:
    """To the page of rows that the address describes, with the row open."""
    query = request.GET.copy()
    anchor = ""
    if number is not None:
        query["row"] = str(number)
        anchor = f"#row-{number}"
    address = reverse("datasets:detail", args=[pk])
    return HttpResponseRedirect(f"{address}?{query.urlencode()}{anchor}" if query else address)


@require_POST
def row_exclude(request: TeamRequest, pk: int, number: int) -> HttpResponse:
    """Exclude one row; with `put_back`, take it back."""
    dataset = _ready(request, pk)
    row = DatasetRow.objects.filter(dataset=dataset, number=number)
    get_object_or_404(row)
    change = drafts.rows_put_back if "put_back" in request.POST else drafts.rows_exclude
    change(dataset=dataset, user=request.user, rows=row)
    return _back(request, pk, number)


@require_POST
def matching_exclude(request: TeamRequest, pk: int) -> HttpResponse:
    """Exclude all rows that the search in the address finds; with `put_back`, take them back."""
    dataset = _ready(request, pk)
    chosen = RowFilter.of(request.GET)
    if not chosen.is_active:
        messages.error(request, "No words are given, so no row was changed. Search first, then exclude what is found.")
        return redirect("datasets:detail", pk=pk)
    rows_to_change = matching(dataset, chosen, drafts.draft_of(dataset))
    putting_back = "put_back" in request.POST
    count = rows_to_change.count()
    rows = f"{count:,} row{'' if count == 1 else 's'}"
    question = ask_first(
        request, question=f"{'Put back' if putting_back else 'Exclude'} {rows} {chosen.in_words}?",
        back=_back(request, pk).url, button=f"{'Put back' if putting_back else 'Exclude'} {rows}", consequences=[
            "The next version will have these rows again." if putting_back else
            f"The next version will leave them out. “{dataset.title}” itself does not change.",
            "Until the draft is saved, rows can be excluded and put back."])
    if question is not None:
        return question
    change = drafts.rows_put_back if putting_back else drafts.rows_exclude
    changed = change(dataset=dataset, user=request.user, rows=rows_to_change)
    messages.success(request, f"{changed:,} row{'' if changed == 1 else 's'} "
                              f"{'put back' if putting_back else 'excluded'}.")
    return _back(request, pk)


@require_http_methods(["GET", "POST"])
def row_edit(request: TeamRequest, pk: int, number: int) -> HttpResponse:
    """The form of a row's texts; with `undo`, the dataset's own texts come back."""
    dataset = _ready(request, pk)
    original = get_object_or_404(DatasetText, row__dataset=dataset, row__number=number)
    if "undo" in request.POST:
        drafts.row_edit_undo(dataset=dataset, user=request.user, number=number)
        return _back(request, pk, number)
    draft = drafts.draft_of(dataset)
    edit = draft.edited.select_related("by").filter(number=number).first() if draft else None
    source: DatasetText | EditedRow = edit or original
    texts = RowTexts(source.prompt, source.chosen, source.rejected, original.undecided, source.reference)
    if texts.is_too_long:
        messages.error(request, f"Row {number:,} has more than {MOST_CHARACTERS:,} characters or {MOST_MESSAGES} "
                                "messages, too many for a form. Exclude it, or change it in the JSONL download and "
                                "import that.")
        return _back(request, pk, number)
    form = RowForm(texts, request.POST if request.method == "POST" else None)
    meanwhile = False
    if request.method == "POST" and form.is_valid():
        try:
            is_edited = drafts.row_edit(dataset=dataset, user=request.user, number=number, row=form.row,
                                        seen=request.POST.get("seen", ""))
        except drafts.EditedMeanwhile as other:
            edit, meanwhile = other.edit, True
        else:
            messages.success(request, f"Row {number:,} is edited in the draft." if is_edited else
                             f"Row {number:,} has the texts of “{dataset.title}”.")
            return _back(request, pk, number)
    return render(request, "datasets/row_edit.html", {
        "dataset": dataset, "number": number, "form": form, "edit": edit, "original": original, "draft": draft,
        "meanwhile": meanwhile, "back": _back(request, pk, number).url})


@require_POST
def draft_discard(request: TeamRequest, pk: int) -> HttpResponse:
    dataset = _ready(request, pk)
    draft = drafts.draft_of(dataset)
    if draft is None:
        return redirect("datasets:detail", pk=pk)
    question = ask_first(
        request, question=f"Discard the draft of “{dataset.name}”?", back=reverse("datasets:detail", args=[pk]),
        button="Discard the draft", consequences=[
            f"Its changes are forgotten, whoever made them: {draft.difference}.",
            "The rows of the dataset stay as they are."])
    if question is not None:
        return question
    drafts.draft_discard(dataset=dataset)
    messages.success(request, "The draft is discarded.")
    return redirect("datasets:detail", pk=pk)


@require_POST
def draft_save(request: TeamRequest, pk: int) -> HttpResponse:
    """Make the next version, and go to its page."""
    dataset = _ready(request, pk)
    try:
        version = drafts.draft_save(dataset=dataset, user=request.user)
    except drafts.DraftRefused as reason:
        messages.error(request, str(reason))
        return redirect("datasets:detail", pk=pk)
    return redirect("datasets:detail", pk=version.pk)
