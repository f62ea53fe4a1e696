"""Search in the team's pairs: by words, and by likeness to another pair. No language model is needed.

A pair is found by its distinct words, folded by Python so that both databases find the same: letters and digits, in
any case; in Chinese, Japanese and Korean each character is a word. The database has an index of them (migration 0009).
A SQLite without FTS5 has none and looks through the words row by row, which finds the same and is slower.

Likeness is the cosine of TF-IDF with a frequency of 1 for every word that a pair has:

    likeness(x, y) = sum of idf(w)² over words w of both / (|x| · |y|),  |x|² = sum of idf(w)² over words w of x
    idf(w) = log((n + 1) / (df(w) + 0.5))

where df is counted in the team's newest n = 1,000 pairs. Candidates are the pairs with one of the rarest words; only
they are compared. In a large team a pair that shares none but common words is not found.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.db.models.expressions import RawSQL
from django.db.models.fields import BooleanField

from webapp.accounts.models import Team
from webapp.labels.models import Pair, PairText, PairWords

QUERY_WORDS = 10  # of a query that are looked for
MOST_CANDIDATES = 2000  # pairs compared with another
_FEW = 5000  # pairs whose keys are written into the query for their labels
_SAMPLE = 1000  # pairs in which the frequency of words is counted
_LONGEST, _MOST_WORDS, _BATCH = 60, 20_000, 500
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")


def words_in(text: str) -> list[str]:
    """The distinct words of a text, folded, in the order of their first appearance."""
    folded = unicodedata.normalize("NFC", text.casefold())
    return list(dict.fromkeys(word[:_LONGEST] for word in _WORD.findall(folded)))[:_MOST_WORDS]


def words_of(prompt: Iterable[Mapping[str, str]], response_a: str, response_b: str) -> str:
    """The words that a pair is found by, as `PairWords.words` has them."""
    return " ".join(words_in(" ".join([*(message["content"] for message in prompt), response_a, response_b])))


def containing(team: Team, query: str) -> Q:
    """The condition on labels that their pair has a word beginning with each word of the query. A query without a word,
    such as "?!", is looked for as it is in the beginning of the prompts."""
    words = words_in(query)[:QUERY_WORDS]
    if not words:
        return Q(pair__in=Pair.objects.of(team).filter(excerpt__icontains=query.strip()).order_by().values("pk"))
    pairs = PairWords.objects.filter(_all_of(words))
    few = list(pairs.filter(pair__team=team).values_list("pk", flat=True)[:_FEW + 1])
    # No database can tell how many pairs have a word's beginning; PostgreSQL would read all labels for a few pairs.
    return Q(pair__in=few) if len(few) <= _FEW else Q(pair__in=pairs.values("pk"))


@dataclass(frozen=True)
class FoundPair:
    """A pair that a search found: how like it is, from 0 to 1, and the rarest words that both have."""

    pair: Pair
    likeness: float
    shared: list[str]

    @property
    def shared_in_words(self) -> str:
        return ", ".join(self.shared)


def similar_pairs(*, team: Team, words: Sequence[str], most: int, other_than: int | None = None) -> list[FoundPair]:
    """The team's pairs most like these words, best first; at most five queries, however many pairs there are."""
    own = PairWords.objects.filter(pair__team=team)
    newest = own.order_by("-pk").values_list("words", flat=True)[:_SAMPLE]
    own_words, counts, sampled = set(words), Counter[str](), 0
    for text in newest:
        counts.update(own_words.intersection(text.split(" ")))
        sampled += 1
    idf = {word: math.log((sampled + 1) / (counts[word] + 0.5)) for word in words}
    rarest = sorted((word for word in words if idf[word] > 0), key=lambda word: (-idf[word], word)) or list(words[:1])
    candidates: dict[int, str] = {}
    for condition in _in_turn(words, rarest, counts, sampled):
        rows = own.filter(condition).exclude(pk=other_than).order_by("-pk").values_list("pk", "words")
        candidates |= dict(rows[:MOST_CANDIDATES])
    likeness = _likeness(idf, candidates, unseen=math.log((sampled + 1) / 0.5))
    best = sorted(likeness, key=lambda pair: (-likeness[pair], -pair))[:most]
    pairs = Pair.objects.of(team).select_related("dataset").in_bulk(best)
    shared = {pair: set(candidates[pair].split(" ")) for pair in best}
    return [FoundPair(pairs[pair], likeness[pair], [word for word in rarest if word in shared[pair]][:6])
            for pair in best if pair in pairs]


def _in_turn(words: Sequence[str], rarest: Sequence[str], counts: Mapping[str, int], sampled: int) -> list[Q]:
    """Conditions on candidates: all words where they are few, and any of the rarest words, as many of these as about
    MOST_CANDIDATES pairs have. Where a team has more pairs than were sampled, it is taken to have 100 times as many."""
    conditions = [_all_of(words, is_prefix=False)] if 1 < len(words) <= QUERY_WORDS else []
    chosen: list[str] = []
    expected, scale = 0.0, 100 if sampled >= _SAMPLE else 1
    for word in rarest:
        expected += scale * max(counts[word], 0.3)
        if chosen and expected > MOST_CANDIDATES:
            break
        chosen.append(word)
    return [*conditions, _any_of(chosen)] if chosen else conditions


def _likeness(idf: Mapping[str, float], candidates: Mapping[int, str], unseen: float) -> dict[int, float]:
    """The cosine by candidate. A candidate's words that the pair does not have were not counted; their idf is taken to
    be the mean of those that were, so that long pairs do not win by length."""
    norm = math.sqrt(sum(value * value for value in idf.values())) or 1.0
    mean = sum(value * value for value in idf.values()) / len(idf) if idf else unseen * unseen
    result = {}
    for pair, text in candidates.items():
        words = text.split(" ")
        both = sum(idf[word] ** 2 for word in words if word in idf)
        others = sum(word not in idf for word in words)
        if both:
            result[pair] = both / (norm * math.sqrt(both + others * mean))
    return result


# The index of each database -------------------------------------------------------------------------------------------


def has_index() -> bool:
    """Whether the database has an index of the words: every PostgreSQL, and a SQLite with FTS5."""
    if connection.vendor == "postgresql":
        return True
    name = str(connection.settings_dict["NAME"])
    if name not in _has_fts5:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'labels_pairsearch'")
            _has_fts5[name] = cursor.fetchone() is not None
    return _has_fts5[name]


_has_fts5: dict[str, bool] = {}  # by the database's name


def _all_of(words: Sequence[str], is_prefix: bool = True) -> Q:
    return _matching(words, "&", is_prefix)


def _any_of(words: Sequence[str]) -> Q:
    return _matching(words, "|", False)


def _matching(words: Sequence[str], operator: str, is_prefix: bool) -> Q:
    """The condition on rows of PairWords. Words hold letters and digits alone, so that nothing has to be escaped."""
    if not has_index():
        return _looking_through(words, operator, is_prefix)
    if connection.vendor == "postgresql":
        query = f" {operator} ".join(f"'{word}'{':*' if is_prefix else ''}" for word in words)
        return Q(RawSQL("document @@ %s::tsquery", [query], output_field=BooleanField()))
    query = {"&": " AND ", "|": " OR "}[operator].join(f'"{word}"{" *" if is_prefix else ""}' for word in words)
    return Q(pk__in=RawSQL("SELECT rowid FROM labels_pairsearch WHERE labels_pairsearch MATCH %s", [query]))


def _looking_through(words: Sequence[str], operator: str, is_prefix: bool) -> Q:
    result = Q()
    for word in words:
        has_word = Q(words=word) | Q(words__startswith=f"{word} ") | Q(words__contains=f" {word} ") | Q(
            words__endswith=f" {word}")
        if is_prefix:
            has_word = Q(words__startswith=word) | Q(words__contains=f" {word}")
        result = result & has_word if operator == "&" else result | has_word
    return result


# Kept by whoever records pairs ----------------------------------------------------------------------------------------


def words_restore() -> None:
    """Make the words of pairs that have none, as after a backup was restored."""
    missing = ~Exists(PairWords.objects.filter(pair=OuterRef("pk")))
    texts = PairText.objects.filter(missing).order_by("pk")
    while batch := list(texts[:_BATCH]):
        PairWords.objects.bulk_create([_row(text) for text in batch])


def _row(text: Any) -> PairWords:
    return PairWords(pair_id=text.pk, words=words_of(text.prompt, text.response_a, text.response_b))
