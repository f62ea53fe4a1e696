from __future__ import annotations

from django.urls import path

from webapp.runs import form_views, paper_views, views

app_name = "runs"
urlpatterns = [
    path("", views.run_list, name="list"),
    path("running/", views.running, name="running"),
    path("new/", form_views.run_new, name="new"),
    path("new/preview/", form_views.run_preview, name="preview"),
    path("start-demo/", views.start_demo, name="start_demo"),
    path("paper/", paper_views.paper, name="paper"),
    path("paper/start/", paper_views.start_paper, name="start_paper"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/state/", views.state, name="state"),
    path("<int:pk>/samples/", views.samples, name="samples"),
    path("<int:pk>/metrics/", views.metrics_json, name="metrics"),
    path("<int:pk>/metrics.csv", views.metrics_csv, name="csv"),
    path("<int:pk>/recipe.yaml", views.recipe_yaml, name="yaml"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/resume/", views.resume, name="resume"),
]
