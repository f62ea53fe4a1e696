"""Server time of the table of runs and of its filters, with 10,000 runs, on SQLite and on PostgreSQL.

    python benchmarks/compare.py [--runs 10000] [--rounds 5] [--postgres postgres://postgres@127.0.0.1:5432/postgres]

The runs differ in their scalarization, KL target, learning rate and seed, and each has the values that a run of PPO
has: its recipe's settings, last and best values of its series, and win rates. SQLite is a file in a temporary folder;
PostgreSQL is a new database on the server of --postgres, which is dropped afterwards; without the option only SQLite is
measured. Each page is asked for by Django's test client in a process of its own per database; a figure is the median
wall time of its rounds, of the slowest page of its kind. The last line is `table_ms: N filter_ms: N`, the slower
database of the two.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from datetime import timedelta
from typing import Any

import repository  # noqa: F401
from both_databases import measured_on_both

TABLES = ("/runs/", "/runs/?page=200", "/runs/?columns=status,kl.target,lr,reward,best.reward,win,kl,seeds,tags",
          "/runs/?sort=-win", "/runs/?sort=kl.target&columns=kl.target,win,by")
FILTERS = ("/runs/?q=scalarization=linear+kl.target>2+win>0.6+kl<8+lr>=1e-5", "/runs/?q=world", "/runs/?q=tag:paper",
           "/runs/?q=seeds>=3", "/runs/?q=best.reward>1+principle:toxicity+-tag:paper&sort=-reward",
           "/runs/?q=by:owner+status:done+duration<2h", "/runs/?q=policy.base~world+sft.enabled=off")
GROUPS = ("/runs/?group=scalarization&columns=reward,win,kl", "/runs/?group=settings&columns=reward,win,kl")
SERIES = ("reward/total", "reward/total_std", "kl/mean", "kl/coefficient", "policy/entropy", "policy/loss",
          "value/loss", "response/length", "policy/clip_fraction", "time/rollout", "throughput/samples_per_second")


def make_runs(team: Any, count: int) -> None:
    """Finished runs with their stages and values; values are made as `run_values` makes them, from made-up results."""
    from django.utils import timezone

    from training.config import shipped_recipe
    from webapp.accounts.models import User
    from webapp.runs.models import Run, RunField, RunStage, RunTag, RunValue, Stage
    from webapp.runs.run_values import recipe_values

    draw, user, now = random.Random(0), User.objects.get(), timezone.now()
    demo = shipped_recipe("demo").model_dump(mode="json")
    fields: dict[str, int] = {}

    def key(name: str) -> int:
        if name not in fields:
            fields[name] = RunField.objects.create(team=team, name=name).pk
        return fields[name]

    for start in range(0, count, 500):
        runs = []
        for number in range(start, min(start + 500, count)):
            recipe = json.loads(json.dumps(demo)) | {"seed": number % 4}
            recipe["scalarization"]["function"] = draw.choice(["linear", "worst_case", "soft_max_min"])
            recipe["ppo"]["kl"]["target"] = draw.choice([1.0, 2.0, 2.5, 4.0, 6.0])
            recipe["ppo"]["learning_rate"] = draw.choice([1e-6, 1e-5, 3e-5, 1e-4])
            runs.append(Run(team=team, name=f"Run {number} of the demo world", recipe=recipe, created_by=user,
                            status="succeeded", finished_at=now + timedelta(minutes=draw.randint(2, 300))))
        Run.objects.bulk_create(runs)
        stages = Stage.objects.bulk_create([Stage(
            team=team, identity=f"{run.pk:032x}{place:032x}", name=kind, kind=kind, status="succeeded", started_at=now,
            finished_at=now, summary={"overall": {"win_rate": 0.7, "low": 0.6, "high": 0.8, "n": 300}})
            for run in runs for place, kind in enumerate(("ppo", "evaluate"))])
        RunStage.objects.bulk_create([RunStage(run=runs[index // 2], stage=stage, name=stage.name, position=index % 2)
                                      for index, stage in enumerate(stages)])
        RunTag.objects.bulk_create([RunTag(run=run, name="paper") for run in runs if draw.random() < 0.1])
        rows = []
        for run in runs:
            values = dict(recipe_values(run.recipe))
            values |= {tag: draw.gauss(2, 2) for tag in SERIES} | {f"best.{tag}": draw.gauss(4, 2) for tag in SERIES}
            values |= {"win": draw.random(), "win.low": 0.4, "win.high": 0.9, "win.pairs": 300.0,
                       "duration": draw.uniform(100, 20000)}
            values |= {f"win.{choice['name']}": draw.random() for choice in run.recipe["principles"]}
            rows += [RunValue(run=run, field_id=key(name), number=None if isinstance(value, str) else value,
                              text=value if isinstance(value, str) else "") for name, value in values.items()]
        RunValue.objects.bulk_create(rows, batch_size=5000)


def measure(runs: int, rounds: int) -> dict[str, float]:
    """Milliseconds of each page, on the database that the environment names."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    from webapp.accounts.models import User
    from webapp.accounts.services import team_create

    call_command("migrate", verbosity=0)
    user = User.objects.create_superuser("owner", password="owner-password")
    make_runs(team_create(name="Alignment", user=user), runs)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return {address: wall_ms(client, address, rounds) for address in (*TABLES, *FILTERS, *GROUPS)}


def wall_ms(client: Any, address: str, rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):  # the first warms up
        began = time.perf_counter()
        answer = client.get(address)
        if answer.status_code != 200 or b"was left out" in answer.content:
            sys.exit(f"{address}: {answer.status_code}, or part of it could not be answered")
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", default=os.environ.get("CONCORD_DATABASE_URL", ""))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.runs, options.rounds)))
        return 0
    arguments = ["--runs", str(options.runs), "--rounds", str(options.rounds)]
    figures = measured_on_both(__file__, arguments, options.postgres)
    for database, by_address in figures.items():
        for address, figure in by_address.items():
            print(f"{database:10} {figure:8.0f} ms   {address}")
    slowest = [max(by_address[address] for by_address in figures.values() for address in addresses)
               for addresses in (TABLES, FILTERS)]
    print(f"table_ms: {slowest[0]:.0f} filter_ms: {slowest[1]:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
