"""The page that repeats the paper's experiments as runs of the team: every arm and seed, with shared stages."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from training.config import Recipe
from training.config.paper_experiment import Arm, arms, demo_recipe, repetitions
from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.models import Team, User
from webapp.runs.models import Run
from webapp.runs.services import run_create

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Group:
    """A group of arms that are compared with each other."""

    title: str
    arms: list[Arm]


@require_GET
def paper(request: TeamRequest) -> HttpResponse:
    recipe = demo_recipe()
    groups: dict[str, Group] = {}
    for arm in arms(recipe):
        groups.setdefault(arm.group, Group(arm.group, [])).arms.append(arm)
    recipes = recipes_of_the_paper()
    started = Run.objects.of(request.team).filter(name__startswith=f"{recipe.name}: ").count()
    return render(request, "runs/paper.html", {
        "groups": list(groups.values()), "runs": len(recipes), "seeds": SEEDS, "started": started,
        "phases": recipe.ppo.steps, "name": recipe.name})


@require_POST
def start_paper(request: TeamRequest) -> HttpResponse:
    count = len(recipes_to_start(request.team))
    question = ask_first(
        request, question=f"Start {count} runs?", button=f"Start {count} runs", back=reverse("runs:paper"),
        consequences=["The workers train them one after another and compute shared stages only once. You can cancel "
                      "each run separately."])
    if question is not None:
        return question
    paper_start(team=request.team, user=request.user)
    return redirect(f"{reverse('runs:list')}?q={demo_recipe().name}:".replace(" ", "+"))


@transaction.atomic
def paper_start(*, team: Team, user: User) -> list[Run]:
    """Start a run for each arm and seed without one; shared stages are computed once."""
    return [run_create(team=team, user=user, recipe=recipe, dataset=None) for recipe in recipes_to_start(team)]


def recipes_to_start(team: Team) -> list[Recipe]:
    """The paper's recipes without a run of the team, or whose run failed or was cancelled."""
    recipes = recipes_of_the_paper()
    started = set(Run.objects.of(team).filter(name__in=[recipe.name for recipe in recipes],
                                            status__in=[Run.Status.RUNNING, Run.Status.SUCCEEDED])
                .values_list("name", flat=True))
    return [recipe for recipe in recipes if recipe.name not in started]


def recipes_of_the_paper() -> list[Recipe]:
    """One recipe per arm and seed. Arms with smaller models run only on the command line, which can cut a base."""
    return [recipe for arm in arms(demo_recipe()) for recipe in repetitions(arm, SEEDS)]
