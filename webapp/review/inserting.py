"""Writes the queues of an assignment in few statements: 100,000 rows as objects would take many times as long."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection

from webapp.review.models import ReviewAssignment, ReviewItem

_AT_ONCE = 20_000  # rows in one statement
_COLUMNS = "team_id, assignment_id, label_id, user_id, position, state, value"


def queues_insert(*, assignment: ReviewAssignment, dealt: Iterable[tuple[int, int, int]]) -> int:
    """Insert an open item for each label, person and place. Returns how many.

    PostgreSQL gets the three columns as arrays; SQLite a statement per row, prepared once, which costs it nothing. The
    rows are written by label, so that the two large indexes grow page after page.
    """
    fixed, state = (assignment.team_id, assignment.pk), str(ReviewItem.State.OPEN)
    rows = sorted(dealt)
    with connection.cursor() as cursor:
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start:start + _AT_ONCE]
            if connection.vendor == "postgresql":
                labels, people, places = map(list, zip(*part, strict=True))
                cursor.execute(f"INSERT INTO {_table()} ({_COLUMNS}) SELECT %s, %s, label, person, place, %s, '' "
                               "FROM unnest(%s::bigint[], %s::bigint[], %s::int[]) AS dealt (label, person, place)",
                               [*fixed, state, labels, people, places])
            else:
                cursor.executemany(f"INSERT INTO {_table()} ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, '')",
                                   [(*fixed, *row, state) for row in part])
    return len(rows)


def _table() -> str:
    return connection.ops.quote_name(ReviewItem._meta.db_table)
