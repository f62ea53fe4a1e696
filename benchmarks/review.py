"""Server time of reviewing labels: the next pair, a search of the labels, a decision, a queue of 100,000 labels dealt.

    python benchmarks/review.py [--pairs 100000] [--queue 100000] [--rounds 30] [--postgres postgres://…/postgres]

A team has --pairs pairs with a label on each of twelve principles. --queue labels are dealt to four people, every
fifth to two of them; one of them then decides. SQLite is a file in a temporary folder; PostgreSQL is a new database on
the server of --postgres, which is dropped afterwards; without the option only SQLite is measured. Pages are asked for
by Django's test client in a process of its own per database; a figure is the median wall time of its rounds, and the
queue is dealt once. The search is the slowest of three pages: the labels that have a word of 1 in 50 pairs, on one
principle; those that have two words; the pairs most like another. Rows are made by `review_rows`. The last line is that
of the slower database.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import repository  # noqa: F401
from both_databases import measured_on_both

FIGURES = ("next_pair_ms", "search_ms", "vote_ms", "queue_100k_ms")
COMMON, RARE = 400, 6000  # numbers of words: about 1 in 50 pairs has the first, 1 in 700 the second


def measure(pairs: int, queue: int, rounds: int) -> dict[str, float]:
    """Milliseconds by figure, on the database that the environment names."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client
    from review_rows import make_rows, word

    from webapp.accounts.models import User
    from webapp.accounts.services import member_add, team_create
    from webapp.labels.models import Pair
    from webapp.review.assigning import Dealing, assignment_create

    call_command("migrate", verbosity=0)
    owner = User.objects.create_superuser("owner", password="owner-password")
    team = team_create(name="Alignment", user=owner)
    make_rows(team, pairs)
    people = [User.objects.create_user(f"annotator-{number}") for number in range(4)]
    for person in people:
        member_add(team=team, user=person, role="annotator")
    client = Client()
    began = time.perf_counter()
    assignment = assignment_create(team=team, by=owner, name="All", dealing=Dealing(
        people=people, per_person=queue // len(people), overlap_every=5))
    dealt = 1000 * (time.perf_counter() - began)
    client.force_login(people[0], backend="django.contrib.auth.backends.ModelBackend")
    address = f"/labels/review/{assignment.pk}/"
    items = iter(assignment.items.filter(user=people[0]).order_by("position").values_list("pk", flat=True)[:rounds + 1])
    votes = wall_ms(lambda: client.post(address, {"item": next(items), "outcome": "a"},
                                        headers={"Accept": "application/json"}), rounds)
    pages = wall_ms(lambda: client.get(address), rounds)
    client.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    addresses = [f"/labels/?q={word(COMMON)}&principle=factuality", f"/labels/?q={word(COMMON)}+{word(RARE)}",
                 f"/labels/find/?like={Pair.objects.order_by('pk')[pairs // 2].pk}"]
    searches = [wall_ms(partial(client.get, address), max(3, rounds // 10)) for address in addresses]
    return dict(zip(FIGURES, (pages, max(searches), votes, dealt), strict=True)) | dict(
        zip(("search_word_ms", "search_words_ms", "similar_ms"), searches, strict=True)) | {
        "items": assignment.items.count()}


def wall_ms(ask: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):  # the first warms up
        began = time.perf_counter()
        answer = ask()
        times.append(1000 * (time.perf_counter() - began))
        if answer.status_code != 200:
            sys.exit(f"answered {answer.status_code}: {answer.content[:300]!r}")
    return statistics.median(times[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--queue", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--postgres", default=os.environ.get("CONCORD_DATABASE_URL", ""))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.pairs, options.queue, options.rounds)))
        return 0
    arguments = ["--pairs", str(options.pairs), "--queue", str(options.queue), "--rounds", str(options.rounds)]
    figures = measured_on_both(__file__, arguments, options.postgres)
    for database, by_name in figures.items():
        print(f"{database:10} " + " ".join(f"{name}: {figure:.0f}" for name, figure in by_name.items()))
    print(" ".join(f"{name}: {max(by_name[name] for by_name in figures.values()):.0f}" for name in FIGURES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
