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


class ReviewSite(UnfoldAdminSite):
    """See the module."""

    index_title = "Review"

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
            "colors": context["colors"] | {"primary": ACCENT},
        }


review_site = ReviewSite()
