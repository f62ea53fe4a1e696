from __future__ import annotations

from django.urls import path

from webapp.review import queue_views, views

app_name = "review"
urlpatterns = [
    path("", views.assignment_list, name="list"),
    path("new/", views.assignment_new, name="new"),
    path("<int:pk>/", queue_views.queue, name="queue"),
    path("<int:pk>/progress/", views.assignment_detail, name="detail"),
    path("<int:pk>/cancel/", views.assignment_cancel, name="cancel"),
    path("<int:pk>/adjudicate/", views.adjudicate, name="adjudicate"),
]
