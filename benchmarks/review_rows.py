"""Rows for the benchmark of reviewing: pairs in words of a made-up language, with a label on each principle.

The k-th of 20,000 words is drawn with a probability proportional to 1 / (k + 3), as words of languages nearly are. A
prompt has 12 words, a response 60. Labels are made inside the database.
"""

from __future__ import annotations

from typing import Any

import numpy as np

WORDS, PROMPT, RESPONSE = 20_000, 12, 60
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "we")
_AT_ONCE = 5000


def word(number: int) -> str:
    """Another word for each number."""
    syllables = []
    number += len(_SYLLABLES)
    while number:
        number, place = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[place])
    return "".join(syllables)


def make_rows(team: Any, pairs: int, seed: int = 0) -> None:
    """The team's pairs, indexed for the search, and their labels; none of them is decided."""
    from django.db import connection

    from webapp.labels.models import Pair, PairText
    from webapp.labels.pair_search import words_restore

    draw, vocabulary = np.random.default_rng(seed), np.array([word(number) for number in range(WORDS)])
    chance = 1 / (np.arange(WORDS) + 3)
    chance /= chance.sum()
    for start in range(0, pairs, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, pairs))
        texts = vocabulary[draw.choice(WORDS, p=chance, size=(len(numbers), PROMPT + 2 * RESPONSE))]
        made = Pair.objects.bulk_create([
            Pair(team=team, digest=f"{number:032x}", human=number % 2, excerpt=" ".join(words[:PROMPT])[:120])
            for number, words in zip(numbers, texts, strict=True)])
        PairText.objects.bulk_create([PairText(
            pair=pair, prompt=[{"role": "user", "content": " ".join(words[:PROMPT])}],
            response_a=" ".join(words[PROMPT:PROMPT + RESPONSE]), response_b=" ".join(words[PROMPT + RESPONSE:]))
            for pair, words in zip(made, texts, strict=True)])
    words_restore()
    draw_of = "random()" if connection.vendor == "postgresql" else "(abs(random() % 1000000) / 1000000.0)"
    with connection.cursor() as cursor:
        cursor.execute(_LABELS.replace("DRAW", draw_of), [team.pk, team.pk])
        cursor.execute("ANALYZE")


_LABELS = """
    INSERT INTO labels_label (team_id, pair_id, principle_version_id, judge, prompt_version, model, probability,
        p_shown, p_swapped, order_gap, confidence, order_flip, error, tokens, review, created_at)
    SELECT team_id, pair_id, version_id, 'rule', '1', '', (shown + swapped) / 2, shown, swapped, abs(shown - swapped),
        abs(shown + swapped - 1), (shown - 0.5) * (swapped - 0.5) < 0, '', 400, 'open', CURRENT_TIMESTAMP
    FROM (SELECT pair.team_id, pair.id AS pair_id, version.id AS version_id, DRAW AS shown, DRAW AS swapped
          FROM labels_pair AS pair, principles_principleversion AS version
          JOIN principles_principle AS principle ON principle.id = version.principle_id
          WHERE pair.team_id = %s AND principle.team_id = %s LIMIT 1000000000) AS drawn"""
