"""Every address of the site. An app's address prefix may include pages of a higher app."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from webapp.accounts.role_views import home
from webapp.datasets import urls as datasets
from webapp.judges import urls as judges
from webapp.labels import urls as labels
from webapp.principles import urls as principles
from webapp.runs import urls as runs

urlpatterns = [
    path("", home, name="home"),
    path("", include("webapp.accounts.urls")),
    path("runs/", include("webapp.runs.urls")),
    path("principles/", include(([*principles.urlpatterns, *runs.principle_pages], principles.app_name))),
    path("datasets/", include(([*datasets.urlpatterns, *labels.dataset_pages], datasets.app_name))),
    path("labels/review/", include("webapp.review.urls")),
    path("labels/", include(([*labels.urlpatterns, *judges.label_pages], labels.app_name))),
    path("judges/", include(([*judges.urlpatterns, *runs.judge_pages], judges.app_name))),
    path("calibration/", include("webapp.calibration.urls")),
    path("sweeps/", include("webapp.sweeps.urls")),
    path("playground/", include("webapp.playground.urls")),
    path("arena/", include("webapp.arena.urls")),
    path("fronts/", include("webapp.fronts.urls")),
    path("review/", admin.site.urls),
]
