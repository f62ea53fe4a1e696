from __future__ import annotations

from django.urls import path

from webapp.principles import views

app_name = "principles"
urlpatterns = [
    path("", views.principle_list, name="list"),
    path("new/", views.principle_new, name="new"),
    path("hues.css", views.hues, name="hues"),
    path("<int:pk>/", views.principle_detail, name="detail"),
    path("<int:pk>/edit/", views.principle_edit, name="edit"),
    path("<int:pk>/archive/", views.principle_archive, name="archive"),
    path("<int:pk>/try/", views.principle_try, name="try"),
]
