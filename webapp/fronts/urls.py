from __future__ import annotations

from django.urls import path

from webapp.fronts import views

app_name = "fronts"
urlpatterns = [
    path("", views.front_list, name="list"),
    path("new/", views.front_new, name="new"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/state/", views.state, name="state"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/again/", views.again, name="again"),
    path("<int:pk>/delete/", views.delete, name="delete"),
]
