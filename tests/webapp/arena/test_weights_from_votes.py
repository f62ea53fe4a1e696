"""Weights fitted to votes: planted ones are found, ties count half, warnings, and the form of a new run gets them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.webapp.arena.answers import make_arena
from tests.webapp.runs.seeds import make_run
from training.config import Recipe, shipped_recipe
from webapp.accounts.models import Team, User
from webapp.arena.models import Arena, ArenaAnswer, Ballot, Pairing
from webapp.arena.vote_weights import ScoredVote, VoteWeights, fitted_rows, vote_weights
from webapp.runs.form.reweighting import reweighted

PLANTED = {"honesty": 2.0, "toxicity": -1.0, "style": 0.5}  # shares 4/7, -2/7, 1/7


def simulated(count: int, seed: int, tied: float = 0.0) -> list[ScoredVote]:
    """Voters who choose by the planted weights; a share of the votes is tied instead."""
    draw = np.random.default_rng(seed)
    votes = []
    for _ in range(count):
        first, second = ({name: float(draw.normal()) for name in PLANTED} for _ in range(2))
        logit = sum(weight * (first[name] - second[name]) for name, weight in PLANTED.items())
        score = 0.5 if draw.random() < tied else float(draw.random() < 1 / (1 + np.exp(-logit)))
        votes.append(ScoredVote(score, first, second))
    return votes


def test_the_weights_that_voters_choose_by_are_in_their_intervals() -> None:
    total = sum(abs(weight) for weight in PLANTED.values())
    held = 0
    for seed in range(5):
        for row in fitted_rows(list(PLANTED), simulated(300, seed), {}):
            held += row.low <= PLANTED[row.name] / total <= row.high
            assert row.low < row.fitted < row.high and row.high - row.low < 0.4
    assert held >= 13, "15 intervals of 95% hold the truth in 14.25 on average"


def test_ties_shorten_the_weights_and_leave_their_shares() -> None:
    decided = fitted_rows(list(PLANTED), simulated(1500, 1), {})
    tied = fitted_rows(list(PLANTED), simulated(1500, 1, tied=0.3), {})
    assert [row.fitted for row in tied] == pytest.approx([row.fitted for row in decided], abs=0.06)


@pytest.mark.parametrize("votes", [
    [], [ScoredVote(0.5, {"honesty": 1.0}, {"honesty": 0.0})], [ScoredVote(1.0, {"honesty": 1.0}, {"honesty": 1.0})]])
def test_without_a_decided_vote_or_a_difference_nothing_is_fitted(votes: list[ScoredVote]) -> None:
    assert fitted_rows(["honesty"], votes, {}) == []


# With a run -----------------------------------------------------------------------------------------------------------


def recipe_with(function: str = "linear") -> Recipe:
    values = shipped_recipe("demo").model_dump(mode="json")
    values["weights"]["mode"], values["scalarization"]["function"] = "fitted", function
    return Recipe.model_validate(values)


def voted(team: Team, owner: User, recipe: Recipe, count: int, against: str = "") -> Arena:
    """An arena scored by a run of the recipe, in which the better sum of scores wins, one principle's turned around;
    every fifth vote is tied and every seventh sides swapped."""
    run, _ = make_run(team, owner, recipe=recipe, until="evaluate")
    names = list(recipe.weights_by_name)
    arena = make_arena(team, owner, policies=2, prompts=count)
    arena.scorer = run
    arena.save()
    draw = np.random.default_rng(7)
    one, other = arena.entrants.all()
    for number, prompt in enumerate(arena.prompts.all()):
        scores = {entrant: {name: float(draw.normal()) for name in names} for entrant in (one, other)}
        for entrant, values in scores.items():
            ArenaAnswer.objects.filter(entrant=entrant, prompt=prompt).update(scores=values, reward=0.0)
        totals = [sum(-score if name == against else score for name, score in scores[entrant].items())
                  for entrant in (one, other)]
        swapped = number % 7 == 0
        pairing = Pairing.objects.create(arena=arena, prompt=prompt, first=one, second=other)
        outcome = "tie" if number % 5 == 0 else "a" if (totals[0] > totals[1]) != swapped else "b"
        Ballot.objects.create(pairing=pairing, user=owner, swapped=swapped, outcome=outcome)
    return arena


def page_of(client: Client, arena: Arena, **headers: str) -> str:
    return client.get(reverse("arena:weights", args=[arena.pk]), headers=headers).content.decode()


def fitted(arena: Arena) -> VoteWeights:
    return vote_weights(Arena.objects.select_related("scorer").get(pk=arena.pk))


def test_the_form_of_a_new_run_opens_with_the_fitted_weights(team: Team, owner: User, owner_client: Client) -> None:
    arena = voted(team, owner, recipe_with(), 120)
    weights = fitted(arena)
    assert (weights.n, weights.ties, weights.is_too_few, weights.turned) == (120, 24, False, [])
    page = owner_client.get(weights.start)
    form: Any = page.context["form"]
    assert form.recipe.weights.mode == "set", "or the run would fit the weights to its dataset again"
    assert form.recipe.weights_by_name == pytest.approx({row.name: row.fitted for row in weights.rows}, abs=1e-3)


def test_a_principle_that_people_vote_against_is_warned_of(team: Team, owner: User, owner_client: Client) -> None:
    name = list(recipe_with().weights_by_name)[0]
    arena = voted(team, owner, recipe_with("worst_case"), 120, against=name)
    [row] = fitted(arena).turned
    assert row.name == name and row.high < 0 < (row.now or 0)
    page = page_of(owner_client, arena)
    assert f"People vote against {name}." in page and "sign reversed" in page and "worst_case" in page
    assert "24 of them tied" in page and "a tie is half a vote for each side" in page


def test_too_few_votes_are_said(team: Team, owner: User, owner_client: Client) -> None:
    name = list(recipe_with().weights_by_name)[0]
    arena = voted(team, owner, recipe_with(), 12, against=name)
    assert [row.name for row in fitted(arena).rows if row.is_turned] and not fitted(arena).turned
    page = page_of(owner_client, arena)
    assert "Too few votes to rely on these weights" in page and "People vote against" not in page


def test_votes_on_answers_without_scores_are_left_out_and_counted(team: Team, owner: User) -> None:
    arena = voted(team, owner, recipe_with(), 20)
    three = list(arena.prompts.all()[:3])
    ArenaAnswer.objects.filter(entrant=arena.entrants.first(), prompt__in=three).update(scores={})
    weights = fitted(arena)
    assert (weights.n, weights.without_scores) == (17, 3)


def test_the_weights_that_the_reward_was_made_with_stand_beside(team: Team, owner: User) -> None:
    arena = voted(team, owner, recipe_with(), 20)
    assert arena.scorer
    names = list(recipe_with().weights_by_name)
    stage = arena.scorer.uses.get(name="weights").stage
    stage.summary = {"mode": "fitted", "weights": {name: float(name == names[0]) for name in names}}
    stage.save()
    assert [row.now for row in fitted(arena).rows] == [float(name == names[0]) for name in names]


def test_scores_of_a_file_have_no_run_to_start_from(team: Team, owner: User, owner_client: Client) -> None:
    arena = voted(team, owner, recipe_with(), 20)
    Arena.objects.update(scorer=None)
    assert {row.now for row in fitted(arena).rows} == {None}
    page = page_of(owner_client, arena)
    assert "Start a run with these weights" not in page and "no run to start from" in page


def test_the_board_brings_the_section_where_answers_have_scores(team: Team, owner: User, owner_client: Client) -> None:
    scored, plain = voted(team, owner, recipe_with(), 20), make_arena(team, owner, rewards=True)
    address = reverse("arena:weights", args=[scored.pk])
    assert f'hx-get="{address}"' in owner_client.get(reverse("arena:board", args=[scored.pk])).content.decode()
    assert "Weights from votes" not in owner_client.get(reverse("arena:board", args=[plain.pk])).content.decode()
    assert "<html" not in page_of(owner_client, scored, **{"HX-Request": "true"}) and "<html" in page_of(
        owner_client, scored), "without JavaScript the link leads to a page"
    assert "No weights can be fitted yet" in page_of(owner_client, plain)


@pytest.mark.parametrize("count", [5, 40])
def test_more_votes_run_no_more_queries(count: int, team: Team, owner: User, owner_client: Client) -> None:
    arena = voted(team, owner, recipe_with(), count)
    with CaptureQueriesContext(connection) as queries:
        page_of(owner_client, arena)
    assert len(queries) <= 8


def test_another_teams_votes_are_not_found(team: Team, owner: User, stranger_client: Client) -> None:
    arena = voted(team, owner, recipe_with(), 5)
    assert stranger_client.get(reverse("arena:weights", args=[arena.pk])).status_code == 404


def test_an_odd_mode_in_the_address_is_refused_by_its_name() -> None:
    with pytest.raises(Exception, match="weights.mode"):
        reweighted(shipped_recipe("demo"), {"weights.mode": "guessed"})
