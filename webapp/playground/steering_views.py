"""The steering page: policies mixed by sliders, asked one prompt, with pinned positions beside; and saved mixes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.playground import mixes, stream
from webapp.playground.conversation import ticks_of
from webapp.playground.forms import TitleForm
from webapp.playground.markdown import markdown_html
from webapp.playground.models import PolicyMix
from webapp.playground.selectors import CannotMix, NotYours, Policies, policies_of
from webapp.playground.services import LONGEST_TITLE
from webapp.playground.steering import (
    BadPosition,
    PositionAnswers,
    Steering,
    SteeringForm,
    answers_to,
    request_of,
    steering_of,
)

UNAVAILABLE = "One of these policies is not available to your team. Choose others below."


@require_http_methods(["GET", "HEAD", "POST"])
async def steer(request: TeamRequest) -> HttpResponse:
    """The page; a prompt is sent by POST and answered on it. An address without a prompt only places the sliders."""
    page = await sync_to_async(_page)(request)
    asked: stream.Request | None = page.pop("asked")
    if asked is not None:
        page["result"] = await answers_to(asked, page.pop("ticks"))
    return await sync_to_async(_drawn)(request, page)


@require_POST
def mix_save(request: TeamRequest) -> HttpResponse:
    """Save where the sliders stand as a policy, and open it in the playground."""
    policies, form = policies_of(request.team.pk), TitleForm({"title": request.POST.get("name", "")})
    try:
        steering = steering_of(request.POST)
        if not form.is_valid():
            raise BadPosition(f"Enter a name of 1 to {LONGEST_TITLE} characters for the mix.")
        mix = mixes.mix_save(team=request.team, user=request.user, policies=policies,
                             name=form.cleaned_data["title"], parts=steering.parts)
    except (BadPosition, CannotMix) as error:
        messages.error(request, str(error))
        return redirect(f"{reverse('playground:steer')}?{urlencode({'p': request.POST.getlist('p')}, doseq=True)}")
    except NotYours:
        messages.error(request, UNAVAILABLE)
        return redirect("playground:steer")
    messages.success(request, f"“{mix.name}” is saved. It is one of the policies to chat with now.")
    return redirect(f"{reverse('playground:page')}?{urlencode({'policy': mix.key})}")


@require_POST
def mix_delete(request: TeamRequest, pk: int) -> HttpResponse:
    mix = get_object_or_404(PolicyMix.objects.of(request.team), pk=pk)
    question = ask_first(
        request, question=f"Delete the mix “{mix.name}”?", back=reverse("playground:steer"), button="Delete the mix",
        consequences=["The policies that it is mixed of stay.",
                      "Conversations with it stay too, and can no longer be continued."])
    if question is not None:
        return question
    mixes.mix_delete(mix=mix)
    messages.success(request, f"The mix “{mix.name}” is deleted.")
    return redirect("playground:steer")


def _page(request: TeamRequest) -> dict[str, Any]:
    """All that the page shows but the answers; `asked` is the request for them, None where nothing is asked."""
    policies, ticks = policies_of(request.team.pk), ticks_of(request.team.pk)
    data = request.POST if request.method == "POST" else request.GET
    sent = {name: data.get(name, field.initial) for name, field in SteeringForm.base_fields.items()}
    form, problem, asked = SteeringForm(sent), "", None
    steering = Steering((), ())
    is_valid = form.is_valid()
    try:
        steering = _moved(steering_of(data), data)
        if steering.keys:
            policies.mixed(list(zip(steering.keys, steering.shares, strict=True)))
        if request.method == "POST" and steering.keys and is_valid and form.cleaned_data["prompt"].strip():
            asked = request_of(request.team.pk, policies, steering, form)
    except (BadPosition, CannotMix) as error:
        steering, problem = Steering((), ()), str(error)
    except NotYours:
        steering, problem = Steering((), ()), UNAVAILABLE
    return {"form": form, "steering": steering, "policies": policies, "problem": problem, "asked": asked,
            "ticks": ticks, "result": None}


def _moved(steering: Steering, data: Any) -> Steering:
    """With the position pinned, or a pin removed, if that button was pressed."""
    if "do_pin" in data:
        return steering.with_pin()
    place = data.get("unpin", "")
    if place.isdecimal() and int(place) < len(steering.pinned):
        return steering.without_pin(int(place))
    return steering


def _drawn(request: TeamRequest, page: dict[str, Any]) -> HttpResponse:
    policies: Policies = page.pop("policies")
    page.pop("ticks", None)
    form: SteeringForm = page["form"]
    steering: Steering = page["steering"]
    mixable = policies.mixable
    titles = {choice.key: choice.title for choices in mixable.values() for choice in choices}
    return render(request, "playground/steer.html", page | {
        "sliders": [{"key": key, "title": titles[key], "share": share, "value": round(100 * share)}
                    for key, share in zip(steering.keys, steering.shares, strict=True)],
        "sampling": [form["temperature"], form["longest"], form["seed"]],
        "positions": _positions(steering, titles, page["result"]), "by_base": list(mixable.items()),
        "saved": [_saved(mix, titles) for mix in policies.mixes.values()], "chosen": set(steering.keys),
        "address": _address(list(zip(steering.keys, steering.shares, strict=True)))})


def _positions(steering: Steering, titles: dict[str, str], result: PositionAnswers | None) -> list[dict[str, Any]]:
    """Each position with its shares and its answer, where there is one."""
    if not steering.keys:
        return []
    answers = result.answers if result and result.answers else (None,) * len(steering.positions)
    return [{"value": ",".join(map(str, shares)), "place": place - 1, "answer": answer,
             "html": markdown_html(answer.text) if answer else "",
             "named": [(titles[key], share) for key, share in zip(steering.keys, shares, strict=True)]}
            for place, (shares, answer) in enumerate(zip(steering.positions, answers, strict=True))]


def _saved(mix: PolicyMix, titles: dict[str, str]) -> dict[str, Any]:
    return {"mix": mix, "address": _address(mix.parts),
            "named": [(titles.get(key, "a policy that was deleted"), weight) for key, weight in mix.parts]}


def _address(parts: Sequence[tuple[str, float]]) -> str:
    """The page's address with the sliders where the parts say."""
    query = [("p", key) for key, _ in parts] + [("w", str(weight)) for _, weight in parts]
    return f"{reverse('playground:steer')}?{urlencode(query)}"
