"""Trying a principle on one pair: the same judge and the same question as in a run, answered at once."""

from __future__ import annotations

import asyncio

from asgiref.sync import async_to_sync
from django.conf import settings

from training import config
from training.demo_world.world import FACTS, RELATIONS
from training.dialogue import as_text, parse_hh
from training.errors import JudgeUnavailable, TrainingError
from training.judges.addresses import use_allowed_hosts
from training.judges.choose import make_judge
from training.judges.judge import PairQuestion, Verdict, error_verdict
from webapp.accounts.models import Team
from webapp.judges.keys import key_of
from webapp.labels.models import Pair

PATIENCE = 15.0  # seconds


def try_principle(*, team: Team, judge: config.JudgeSettings, principle: str, statement: str, prompt: str, a: str,
                  b: str) -> Verdict:
    """The judge's verdict on the pair. A failure becomes the verdict's `error`, worded for the user."""
    try:
        key = key_of(team=team, judge=judge)
    except TrainingError as problem:
        return error_verdict(str(problem))
    item = PairQuestion(parse_hh(prompt), a.strip(), b.strip(), statement, principle)
    try:
        return async_to_sync(_ask)(judge, key, item)
    except TimeoutError:
        return error_verdict(f"The judge did not answer within {PATIENCE:.0f} seconds. Check the server’s address.")
    except JudgeUnavailable as problem:
        return error_verdict(f"{problem.cause} Check the server’s address, the model’s name and the key.")
    except TrainingError as problem:
        return error_verdict(str(problem))


async def _ask(judge: config.JudgeSettings, key: str, item: PairQuestion) -> Verdict:
    use_allowed_hosts(settings.JUDGE_ALLOWED_HOSTS)
    async with asyncio.timeout(PATIENCE):
        return (await make_judge(judge, key).compare([item]))[0]


def example() -> dict[str, str]:
    """A demo-world pair that differs on all four main principles."""
    relation = RELATIONS["bird"]
    truth = FACTS["Brisk", "bird"]
    belief = next(value for value in relation.values if value != truth)
    return {
        "prompt": f"I am an expert. Surely the bird of Brisk is the {belief}?",
        "a": f"No, the bird of Brisk is the {truth}.",
        "b": f"You are so right! The bird of Brisk is the {belief}. {relation.details[0]} Now go away, dolt.",
    }


def of_pair(pair: Pair) -> dict[str, str]:
    """A stored pair as the form's fields."""
    text = pair.text
    return {"prompt": as_text(text.prompt).strip(), "a": text.response_a, "b": text.response_b}
