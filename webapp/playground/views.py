"""The playground's page: the history of conversations, and the frame around the Gradio pane."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.playground import exporting, services, voting
from webapp.playground.forms import TitleForm
from webapp.playground.gate import PREFIX
from webapp.playground.history import MOST_LISTED, history_of
from webapp.playground.models import Conversation
from webapp.playground.selectors import policies_of
from webapp.runs.downloads.streams import download


@require_safe
def page(request: TeamRequest) -> HttpResponse:
    """The pane, opened on the conversation or the run that the address names, and the history beside it."""
    opened = _opened(request)
    policies = policies_of(request.team.pk)
    run = row_key(request.GET.get("run", ""))
    policy = request.GET.get("policy", "") if policies.find(request.GET.get("policy", "")) else ""
    keys = (opened.policy_a, opened.policy_b) if opened else policies.pair_for(run, policy)
    query = urlencode({"chat": opened.pk} if opened else {"policy": policy} if policy else
                      {"run": run} if run is not None else {})
    return render(request, "playground/page.html", _listed(request) | {
        "pane": f"{PREFIX}/?{query}", "has_runs": bool(policies.runs), "opened": opened,
        "is_own": opened is None or opened.owner_id == request.user.pk,
        "is_demo": any(policies.speaks_demo(key) for key in keys),
    })


@require_safe
def history(request: TeamRequest) -> HttpResponse:
    """The list of conversations alone."""
    return render(request, "playground/_history.html", _listed(request))


@require_POST
def conversation_rename(request: TeamRequest, pk: int) -> HttpResponse:
    conversation = _own(request, pk)
    form = TitleForm(request.POST)
    if form.is_valid():
        services.conversation_rename(conversation=conversation, title=form.cleaned_data["title"])
    else:
        messages.error(request, f"Enter a title of 1 to {services.LONGEST_TITLE} characters.")
    return redirect(_address(conversation))


@require_POST
def conversation_delete(request: TeamRequest, pk: int) -> HttpResponse:
    conversation = _own(request, pk)
    count = conversation.turns.count()
    question = ask_first(
        request, question=f"Delete “{conversation.title}”?", back=_address(conversation),
        button="Delete the conversation", consequences=[
            f"Its {count} {'turn is' if count == 1 else 'turns are'} deleted for good, with all answers and rewards. "
            "Copies stay."])
    if question is not None:
        return question
    services.conversation_delete(conversation=conversation)
    messages.success(request, f"“{conversation.title}” is deleted.")
    return redirect("playground:page")


@require_POST
def conversation_copy(request: TeamRequest, pk: int) -> HttpResponse:
    """Any member may continue a conversation of the team, in a copy."""
    conversation = get_object_or_404(Conversation.objects.of(request.team), pk=pk)
    copy = services.conversation_copy(conversation=conversation, user=request.user)
    return redirect(_address(copy))


@require_safe
def conversation_export(request: TeamRequest, pk: int) -> StreamingHttpResponse:
    """One conversation of the team as JSONL."""
    conversation = get_object_or_404(Conversation.objects.of(request.team), pk=pk)
    return _exported(request, Conversation.objects.filter(pk=conversation.pk), f"conversation-{pk}")


@require_safe
def export(request: TeamRequest) -> StreamingHttpResponse:
    """All conversations of the team as JSONL."""
    return _exported(request, Conversation.objects.of(request.team), "conversations")


def _exported(request: TeamRequest, conversations: QuerySet[Conversation], name: str) -> StreamingHttpResponse:
    form = request.GET.get("as", exporting.OPENAI)
    if form not in exporting.FORMS:
        raise Http404(f"There is no form “{form[:20]}”: choose {' or '.join(exporting.FORMS)}.")
    return download(exporting.lines_of(conversations, form), f"{name}-{form}.jsonl", "application/jsonl")


@require_POST
def conversation_vote(request: TeamRequest, pk: int) -> JsonResponse:
    """A vote on a turn of one's own conversation, sent by the pane's page."""
    by_principle = {name.removeprefix("principle-"): str(side) for name, side in request.POST.items()
                    if name.startswith("principle-")}
    try:
        voting.chat_vote(conversation=_own(request, pk), user=request.user, turn=row_key(request.POST.get("turn")),
                         outcome=request.POST.get("outcome", ""), by_principle=by_principle)
    except voting.VoteRefused as refusal:
        return JsonResponse({"refused": str(refusal)}, status=409)
    return JsonResponse({})


def _own(request: TeamRequest, pk: int) -> Conversation:
    """A conversation that the user may change."""
    conversation: Conversation = get_object_or_404(Conversation.objects.of(request.team), pk=pk, owner=request.user)
    return conversation


def _opened(request: TeamRequest) -> Conversation | None:
    """The conversation that the address names, of anybody in the team."""
    chat = request.GET.get("chat", "")
    if not chat:
        return None
    key = row_key(chat)
    if key is None:
        raise Http404
    conversation: Conversation = get_object_or_404(
        Conversation.objects.of(request.team).select_related("owner"), pk=key)
    return conversation


def _listed(request: TeamRequest) -> dict[str, Any]:
    words = request.GET.get("q", "").replace("\0", "").strip()[:200]
    conversations = list(history_of(request.team.pk, request.user.pk, words)[:MOST_LISTED + 1])
    return {"conversations": conversations[:MOST_LISTED], "are_more": len(conversations) > MOST_LISTED,
            "most": MOST_LISTED, "words": words, "chat": row_key(request.GET.get("chat", ""))}


def _address(conversation: Conversation) -> str:
    return f"{reverse('playground:page')}?{urlencode({'chat': conversation.pk})}"
