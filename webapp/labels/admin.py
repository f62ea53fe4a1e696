"""The review pages: tables of the team's pairs and labels, with actions on many. The Labels pages decide on one label.

Its own page here would be a second place to decide, without the keys, the next label and the frame that the first has.
"""

from __future__ import annotations

from typing import Any, NoReturn
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from webapp.accounts.models import Team, User
from webapp.accounts.numbers import row_key
from webapp.labels import admin_filters, bulk, selectors
from webapp.labels.forms import LabelFilterForm
from webapp.labels.models import BulkAction, Label, Pair
from webapp.labels.site import review_site


class NarrowList(ChangeList):
    """A change list that fetches only the columns it shows."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        return super().get_queryset(request, exclude_parameters).only(*self.model_admin.list_columns)


class TeamAdmin(ModelAdmin):
    """Shows only rows of the request's team."""

    list_columns: tuple[str, ...] = ()
    labels_page = ""  # the address of a row's page
    list_per_page = list_max_show_all = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("pair__excerpt",)
    search_help_text = "Words of the prompt"
    list_filter_submit = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(team=request.team)  # type: ignore[attr-defined]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return NarrowList

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> NoReturn:
        raise Http404

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list and its actions; ticked values that are not valid keys are ignored."""
        if helpers.ACTION_CHECKBOX_NAME in request.POST:
            post = request.POST.copy()
            ticked = post.getlist(helpers.ACTION_CHECKBOX_NAME)
            post.setlist(helpers.ACTION_CHECKBOX_NAME, [key for key in ticked if row_key(key) is not None])
            request.POST = post  # type: ignore[assignment]
        return super().changelist_view(request, extra_context)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        if self.get_object(request, object_id) is None:
            raise Http404
        return super().history_view(request, object_id, extra_context)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return review_site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return review_site.has_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return review_site.has_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "",
                    extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Redirect to the row's page among the Labels pages, which goes through the labels that the list shows."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        query = self.filter_of(request)
        return redirect(reverse(self.labels_page, args=[row.pk]) + (f"?{query}" if query else ""))

    def filter_of(self, request: HttpRequest) -> str:
        """The list's filter as the Labels pages name it; the admin hands it on in one parameter."""
        return ""


@admin.register(Label, site=review_site)
class LabelAdmin(TeamAdmin):
    list_columns = selectors.LIST_COLUMNS
    labels_page = "labels:label"
    list_display = ("excerpt", "principle", "a_to_b", "sureness", "orders", "review_state", "judged_by")
    list_filter = (admin_filters.ByPrinciple, admin_filters.ByDataset, admin_filters.ByConfidence,
                   admin_filters.ByOrders, admin_filters.ByReview, admin_filters.ByJudge)
    list_select_related = ("pair", "principle_version__principle")
    actions = ("approve", "reject", "take_back")

    @admin.display(description="Prompt", ordering="-pk")
    def excerpt(self, label: Label) -> str:
        return label.pair.excerpt or "(no text)"

    @admin.display(description="Judge", ordering="judge")
    def judged_by(self, label: Label) -> str:
        return label.judge_title

    @admin.display(description="Principle")
    def principle(self, label: Label) -> SafeString:
        return mark_safe(render_to_string("principles/_tick.html", {"principle": label.principle_version.principle}))

    @admin.display(description="A to B", ordering="probability")
    def a_to_b(self, label: Label) -> SafeString:
        return mark_safe(render_to_string("labels/_bar.html", {"label": label}))

    @admin.display(description="Confidence", ordering="confidence")
    def sureness(self, label: Label) -> str:
        return "–" if label.confidence is None else f"{label.confidence:.2f}"

    @admin.display(description="Orders", ordering="order_gap")
    def orders(self, label: Label) -> str:
        return "disagree" if label.order_flip else "one" if label.p_swapped is None else "agree"

    @admin.display(description="Review", ordering="review")
    def review_state(self, label: Label) -> str:
        return label.decision or label.get_review_display()

    def filter_of(self, request: HttpRequest) -> str:
        changelist = QueryDict(request.GET.get("_changelist_filters", ""))
        return urlencode({name: changelist[name] for name in LabelFilterForm.base_fields if changelist.get(name)})

    @admin.action(description="Approve", permissions=["change"])
    def approve(self, request: HttpRequest, queryset: QuerySet[Label]) -> HttpResponse | None:
        return self._act(request, queryset, BulkAction.Kind.APPROVE)

    @admin.action(description="Reject", permissions=["change"])
    def reject(self, request: HttpRequest, queryset: QuerySet[Label]) -> HttpResponse | None:
        return self._act(request, queryset, BulkAction.Kind.REJECT)

    @admin.action(description="Take back the last decision", permissions=["change"])
    def take_back(self, request: HttpRequest, queryset: QuerySet[Label]) -> HttpResponse | None:
        return self._act(request, queryset, BulkAction.Kind.TAKE_BACK)

    def _act(self, request: HttpRequest, queryset: QuerySet[Label], kind: BulkAction.Kind) -> HttpResponse | None:
        """Change the ticked labels, or all that match. If a confirmation is needed, redirect to its page."""
        team: Team = request.team  # type: ignore[attr-defined]
        by: User = request.user  # type: ignore[assignment]
        if helpers.ActionForm.base_fields["select_across"].to_python(request.POST.get("select_across")):
            form = LabelFilterForm(team, request.GET, selectors.filter_choices(team, request.GET))
            if not form.is_valid():
                self.message_user(request, " ".join([*form.problems, "Nothing was changed."]), messages.ERROR)
                return None
            if queryset.count() != selectors.labels_of(team, form.chosen).count():  # a lookup of the admin's own
                self.message_user(request, "The list has a filter that an action on all labels cannot apply. "
                                           "Nothing was changed.", messages.ERROR)
                return None
            action = bulk.draft(team=team, by=by, kind=kind, filters=form.chosen)
            if bulk.asks(action):
                return redirect(f"{reverse('labels:bulk_new')}?{urlencode(form.chosen | {'kind': kind.value})}")
        else:
            keys = list(queryset.order_by().values_list("pk", flat=True))
            action = bulk.draft(team=team, by=by, kind=kind, filters={"pk": keys}, includes_decided=True)
        action = bulk.start(action=action)
        if action.is_active:
            return redirect("labels:bulk_detail", action.pk)
        self.message_user(request, f"{action.changed:,} labels changed.")
        return None


@admin.register(Pair, site=review_site)
class PairAdmin(TeamAdmin):
    list_columns = ("excerpt", "human", "created_at", "dataset__name")
    labels_page = "labels:pair"
    list_display = ("prompt_start", "dataset", "human_choice", "created_at")
    list_filter = (admin_filters.PairByDataset,)
    list_select_related = ("dataset",)
    search_fields = ("excerpt",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Prompt", ordering="-pk")
    def prompt_start(self, pair: Pair) -> str:
        return pair.excerpt or "(no text)"

    @admin.display(description="A person chose")
    def human_choice(self, pair: Pair) -> str:
        return {1.0: "A", 0.0: "B", None: "–"}.get(pair.human, "neither")
