from __future__ import annotations

from django.urls import path

from webapp.labels import quality_views, views

app_name = "labels"
urlpatterns = [
    path("", views.list_, name="list"),
    path("<int:pk>/", views.label, name="label"),
    path("<int:pk>/judge/", views.judge, name="judge"),
    path("pairs/<int:pk>/", views.pair, name="pair"),
    path("review/", views.review_all, name="review_all"),
    path("quality/", quality_views.label_quality, name="quality"),
    path("undo/", views.undo_all, name="undo_all"),
]
