"""The review site: Django's admin with the unfold theme, for staff and only for rows of their own team.

`review_site` replaces Django's default admin site, so models that other apps register there are not reachable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csp.decorators import csp_update
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import reverse
from django.utils.decorators import method_decorator
from unfold.sites import UnfoldAdminSite

from webapp.labels.services import may_review

# Alpine, which unfold is made with, builds functions from strings; unfold's colours are an inline style sheet.
POLICY = {"script-src": ["'unsafe-eval'"], "style-src": ["'unsafe-inline'"]}
# The site's accent in unfold's eleven shades.
ACCENT = {
    "50": "#eef1fd", "100": "#e0e6fb", "200": "#c6d0f7", "300": "#b1c0ff", "400": "#93a8ff", "500": "#7d94f5",
    "600": "#3451c7", "700": "#2a43a8", "800": "#24388a", "900": "#1f2f6e", "950": "#141d45",
}
# The site's neutral colours, from its tokens in css/concord.css, in the same shades.
NEUTRAL = {
    "50": "#f6f7f8", "100": "#f1f3f5", "200": "#e2e5e9", "300": "#cdd2d8", "400": "#9ba5b1", "500": "#6b7480",
    "600": "#58616e", "700": "#3a424c", "800": "#2a3038", "900": "#171b20", "950": "#101317",
}


class ReviewSite(UnfoldAdminSite):
    """See the module."""

    index_title = "Review"

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Redirect to the labels: a page that only names the two tables would be one click more."""
        return redirect("admin:labels_label_changelist")

    def has_permission(self, request: HttpRequest) -> bool:
        return may_review(request.user, request.team)  # type: ignore[attr-defined, arg-type]

    def admin_view(self, view: Callable[..., HttpResponse], cacheable: bool = False) -> Callable[..., HttpResponse]:
        checked: Callable[..., HttpResponse] = csp_update(POLICY)(super().admin_view(view, cacheable))
        return checked

    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Redirect to the site's login page. A logged-in user who is not a reviewer is refused."""
        if request.user.is_authenticated:
            raise PermissionDenied("Only members who are staff can review labels.")
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """The site's theme and the colours of principles."""
        theme = request.COOKIES.get("theme")
        context = super().each_context(request)
        return context | {
            "theme": theme if theme in {"light", "dark"} else None,
            "styles": [reverse("principles:hues"), static("css/review.css")],
            "colors": context["colors"] | {"primary": ACCENT, "base": NEUTRAL},
        }


review_site = ReviewSite()
