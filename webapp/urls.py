"""Every address of the site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="runs:list"), name="home"),
    path("", include("webapp.accounts.urls")),
    path("runs/", include("webapp.runs.urls")),
    path("principles/", include("webapp.principles.urls")),
    path("datasets/", include("webapp.datasets.urls")),
    path("labels/", include("webapp.labels.urls")),
    path("judges/", include("webapp.judges.urls")),
    path("playground/", include("webapp.playground.urls")),
    path("review/", admin.site.urls),
]
