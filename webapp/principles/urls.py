from __future__ import annotations

from django.urls import path

from webapp.principles import views

app_name = "principles"
# The list, a principle's page and the trial show labels and preference models: see `principle_pages` of runs.
urlpatterns = [
    path("new/", views.principle_new, name="new"),
    path("hues.css", views.hues, name="hues"),
    path("<int:pk>/edit/", views.principle_edit, name="edit"),
    path("<int:pk>/archive/", views.principle_archive, name="archive"),
]
