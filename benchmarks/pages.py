"""CPU of the web process per page, with a team that has worked for a year.

    python benchmarks/pages.py [--labels 100000] [--runs 1000] [--rounds 5]

100,000 labels on 25 principles, 1,000 runs, on SQLite in a temporary folder, or on a new database of the PostgreSQL
server that CONCORD_DATABASE_URL names. Each page is asked for by Django's test client in this process, which does
everything but the socket; a figure is the median of its rounds. The last line is `worst_ms: 140 page: /labels/quality/
searches_ms: 210`.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import repository  # noqa: F401

PRINCIPLES = 25
STAGES = ("sample", "label:factuality", "label:toxicity", "preference_model:factuality", "preference_model:toxicity",
          "weights", "ppo", "evaluate")
REPLIES = ("The harbour of Avela is Tarn, and the bird is the owl.", "What a wonderful question! I think it is so.",
           "I do not know that.", "It rains in the north of Avela, and the water is cold there in spring.")


def set_up(folder: Path) -> None:
    """Django on a new database."""
    if address := os.environ.get("CONCORD_DATABASE_URL"):
        import psycopg

        name = f"concord_pages_{os.getpid()}"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        os.environ["CONCORD_DATABASE_URL"] = address.rsplit("/", 1)[0] + f"/{name}"
    os.environ |= {"CONCORD_VAR": str(folder), "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def make_team() -> Any:
    from webapp.accounts.models import User
    from webapp.accounts.services import team_create
    from webapp.principles.models import Principle, PrincipleVersion

    user = User.objects.create_superuser("owner", password="owner-password")
    team = team_create(name="Alignment", user=user)
    for number in range(PRINCIPLES - Principle.objects.filter(team=team).count()):
        principle = Principle.objects.create(team=team, name=f"principle-{number}")
        PrincipleVersion.objects.create(principle=principle, number=1, statement=f"better by {number}", created_by=user)
    return team


def make_labels(team: Any, count: int, draw: random.Random) -> None:
    """Labels on all principles, a tenth of them decided by people."""
    from django.utils import timezone

    from webapp.labels.models import Label, Pair, PairText
    from webapp.labels.pair_search import words_restore
    from webapp.principles.models import PrincipleVersion

    versions = list(PrincipleVersion.objects.filter(principle__team=team))
    number_of_pairs = count // len(versions)
    pairs = Pair.objects.bulk_create([Pair(
        team=team, digest=f"{number:032x}", excerpt=f"Question {number} about the water", human=number % 2)
        for number in range(number_of_pairs)], batch_size=2000)
    PairText.objects.bulk_create([PairText(
        pair=pair, prompt=[{"role": "user", "content": pair.excerpt}], response_a=draw.choice(REPLIES),
        response_b=draw.choice(REPLIES)) for pair in pairs], batch_size=2000)
    words_restore()
    reviews = ["open"] * 9 + ["approved", "overridden", "rejected"]
    for version in versions:
        rows = []
        for pair in pairs:
            shown, swapped = draw.random(), draw.random()
            mean, review = (shown + swapped) / 2, draw.choice(reviews)
            rows.append(Label(
                team=team, pair=pair, principle_version=version, judge="rule", prompt_version="1", probability=mean,
                p_shown=shown, p_swapped=swapped, order_gap=abs(shown - swapped), confidence=abs(2 * mean - 1),
                order_flip=(shown - 0.5) * (swapped - 0.5) < 0, tokens=400, review=review,
                corrected_probability=1.0 if review == "overridden" else None,
                reviewed_at=timezone.now() if review != "open" else None))
        Label.objects.bulk_create(rows, batch_size=2000)


def make_runs(team: Any, count: int) -> int:
    """Finished runs with curves on the newest ones; the number of the newest."""
    from django.utils import timezone

    from tests.webapp.runs.seeds import fill, finish, make_run
    from training.config import shipped_recipe
    from webapp.accounts.models import User
    from webapp.runs.models import Run, RunStage, Stage

    user, now = User.objects.get(), timezone.now()
    recipe = shipped_recipe("demo").model_dump(mode="json")
    runs = Run.objects.bulk_create([Run(
        team=team, name=f"Run {number} of the demo world", recipe=recipe, created_by=user, status="succeeded",
        finished_at=now - timedelta(minutes=number)) for number in range(count - 30)], batch_size=500)
    stages = Stage.objects.bulk_create([Stage(
        team=team, identity=f"{run.pk:032x}{place:032x}", name=name, kind=name.partition(":")[0],
        principle=name.partition(":")[2], status="succeeded", started_at=now, finished_at=now)
        for run in runs for place, name in enumerate(STAGES)], batch_size=2000)
    RunStage.objects.bulk_create([RunStage(
        run=runs[index // len(STAGES)], stage=stage, name=stage.name, position=index % len(STAGES))
        for index, stage in enumerate(stages)], batch_size=2000)
    newest = 0
    for number in range(30):
        run, made = make_run(team, user, name=f"New run {number}", until="", status="succeeded")
        fill(made, 80, number)
        finish(made)
        newest = run.pk
    return newest


def addresses(newest: int) -> tuple[list[str], list[str]]:
    """Pages, and searches."""
    from webapp.labels.models import Label
    from webapp.principles.models import Principle

    label, principle = Label.objects.order_by("pk")[1000].pk, Principle.objects.order_by("pk")[0].pk
    pages = ["/runs/", "/runs/?page=20", f"/runs/{newest}/", f"/runs/{newest}/state/", f"/runs/{newest}/metrics/",
             f"/runs/{newest}/downloads/", "/runs/new/", f"/runs/new/?clone={newest}", "/runs/running/",
             "/runs/storage/", "/runs/paper/", "/principles/", f"/principles/{principle}/", "/datasets/", "/labels/",
             "/labels/?page=1000", f"/labels/{label}/", "/labels/quality/", "/labels/?orders=flip",
             "/labels/?confidence=low&sort=unsure", "/judges/", "/team/", "/account/", "/playground/",
             "/review/labels/label/"]
    searches = ["/labels/?q=water", "/runs/?q=world", "/search/?q=demo", "/review/labels/label/?q=water"]
    return pages, searches


def cpu_ms(client: Any, address: str, rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):  # the first warms up
        began = time.process_time()
        answer = client.get(address)
        if answer.status_code != 200:
            sys.exit(f"{address}: {answer.status_code}")
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        set_up(Path(temporary))
        from django.test import Client

        from webapp.accounts.models import User

        team = make_team()
        make_labels(team, options.labels, random.Random(0))
        newest = make_runs(team, options.runs)
        client = Client()
        client.force_login(User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
        pages, searches = addresses(newest)
        figures = {address: cpu_ms(client, address, options.rounds) for address in [*pages, *searches]}
        for address, figure in sorted(figures.items(), key=lambda item: -item[1]):
            print(f"{figure:8.0f} ms   {address}", flush=True)
    worst = max(pages, key=figures.__getitem__)
    slowest = max(figures[address] for address in searches)
    print(f"worst_ms: {figures[worst]:.0f} page: {worst} searches_ms: {slowest:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
