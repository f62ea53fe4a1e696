"""The filters of the review pages: each offers the team's values and filters as the Labels page does."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from webapp.labels.forms import AGREEMENT, CONFIDENCE, NO_DATASET
from webapp.labels.models import Label, Pair
from webapp.labels.selectors import condition, offered


class LabelFilter(SimpleListFilter):
    """A field of `labels.forms.LabelFilterForm`."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = request.GET.get(str(self.parameter_name), "")
        return offered(request.team, str(self.parameter_name), chosen)  # type: ignore[attr-defined]

    def has_output(self) -> bool:
        """A filter without choices is still applied if the address names it."""
        return super().has_output() or bool(self.value())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Label]) -> QuerySet[Label]:
        value = self.value()
        if not value:
            return queryset
        values = {str(choice) for choice, _ in self.lookup_choices}
        if value not in values:  # a filter that means nothing matches nothing: an action on "all" must not reach all
            return queryset.none()
        return queryset.filter(condition(request.team, {str(self.parameter_name): str(self.value())}))  # type: ignore[attr-defined]


class ByPrinciple(LabelFilter):
    title, parameter_name = "principle", "principle"


class ByDataset(LabelFilter):
    title, parameter_name = "dataset", "dataset"


class ByJudge(LabelFilter):
    title, parameter_name = "judge", "judge"


class ByConfidence(LabelFilter):
    title, parameter_name = "confidence", "confidence"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return CONFIDENCE


class ByOrders(LabelFilter):
    title, parameter_name = "order disagreement", "orders"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return AGREEMENT


class ByReview(LabelFilter):
    title, parameter_name = "review state", "review"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Label.Review.choices)


class PairByDataset(ByDataset):
    """The dataset of a pair itself."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Pair]) -> QuerySet[Pair]:  # type: ignore[override]
        value = self.value()
        if not value:
            return queryset
        if value not in {str(offer) for offer, _ in self.lookup_choices}:
            return queryset.none()
        return queryset.filter(dataset=None if value == NO_DATASET else int(str(value)))
