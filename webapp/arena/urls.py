from __future__ import annotations

from django.urls import path

from webapp.arena import views, vote_views

app_name = "arena"
urlpatterns = [
    path("", views.arena_list, name="list"),
    path("new/", views.arena_new, name="new"),
    path("import/", views.arena_import, name="import"),
    path("<int:pk>/board/", views.arena_board, name="board"),
    path("<int:pk>/vote/", vote_views.vote, name="vote"),
    path("<int:pk>/weights/", views.arena_weights, name="weights"),
    path("<int:pk>/progress/", views.arena_progress, name="progress"),
    path("<int:pk>/again/", views.arena_again, name="again"),
    path("<int:pk>/cancel/", views.arena_cancel, name="cancel"),
    path("<int:pk>/open/", views.arena_open, name="open"),
    path("<int:pk>/delete/", views.arena_delete, name="delete"),
]
