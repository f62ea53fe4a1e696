from __future__ import annotations

from django.urls import path

from webapp.labels import bulk_views, find_views, rating_views, views

app_name = "labels"
urlpatterns = [
    path("", views.list_, name="list"),
    path("<int:pk>/", views.label, name="label"),
    path("<int:pk>/judge/", views.judge, name="judge"),
    path("<int:pk>/options/", views.options, name="options"),
    path("find/", find_views.find, name="find"),
    path("pairs/<int:pk>/", views.pair, name="pair"),
    path("actions/", bulk_views.bulk_list, name="bulk_list"),
    path("actions/new/", bulk_views.bulk_new, name="bulk_new"),
    path("actions/<int:pk>/", bulk_views.bulk_detail, name="bulk_detail"),
    path("actions/<int:pk>/undo/", bulk_views.bulk_undo, name="bulk_undo"),
    path("actions/<int:pk>/hide/", bulk_views.bulk_hide, name="bulk_hide"),
]

# Under the addresses of datasets: it shows principles, which they do not know.
dataset_pages = [path("<int:pk>/ratings/", rating_views.dataset_ratings, name="ratings")]
