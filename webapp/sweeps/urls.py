from __future__ import annotations

from django.urls import path

from webapp.sweeps import form_views, views

app_name = "sweeps"
urlpatterns = [
    path("", views.sweep_list, name="list"),
    path("new/", form_views.sweep_new, name="new"),
    path("new/preview/", form_views.sweep_preview, name="preview"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/live/", views.live, name="live"),
    path("<int:pk>/extend/", form_views.sweep_add, name="extend"),
    path("<int:pk>/extend/preview/", form_views.sweep_add_preview, name="extend_preview"),
    path("<int:pk>/pause/", views.pause, name="pause"),
    path("<int:pk>/continue/", views.go_on, name="go_on"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/change/", views.change, name="change"),
]
