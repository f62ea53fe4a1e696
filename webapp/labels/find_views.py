"""The page that finds pairs: those most like another pair, or most like some words, best first."""

from __future__ import annotations

from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from training.text import storable
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.labels.models import Label, Pair, PairWords
from webapp.labels.pair_search import QUERY_WORDS, similar_pairs, words_in

MOST_SHOWN = 30
LONGEST_QUERY = 200


@require_safe
def find(request: TeamRequest) -> HttpResponse:
    query = storable(request.GET.get("q", ""))[:LONGEST_QUERY].strip()
    like, words = None, words_in(query)[:QUERY_WORDS]
    if "like" in request.GET:
        like = get_object_or_404(Pair.objects.of(request.team), pk=row_key(request.GET["like"]))
        indexed = PairWords.objects.filter(pk=like.pk).first()
        words = indexed.words.split() if indexed is not None else []
    similar = similar_pairs(team=request.team, words=words, most=MOST_SHOWN,
                            other_than=like.pk if like else None) if words else []
    counts = Label.objects.filter(pair__in=[similar_pair.pair.pk for similar_pair in similar]).order_by().values(
        "pair").annotate(n=Count("pk"), decided=Count("pk", filter=~Q(review=Label.Review.OPEN)))
    by_pair = {row["pair"]: row for row in counts}
    return render(request, "labels/find.html", {
        "query": query, "like": like, "words": words,
        "rows": [(similar_pair, by_pair.get(similar_pair.pair.pk)) for similar_pair in similar]})
