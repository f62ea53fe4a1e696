from __future__ import annotations

from django.urls import path

from webapp.playground import steering_views, views

app_name = "playground"
urlpatterns = [
    path("", views.page, name="page"),
    path("history/", views.history, name="history"),
    path("export/", views.export, name="export"),
    path("steer/", steering_views.steer, name="steer"),
    path("mixes/", steering_views.mix_save, name="mix_save"),
    path("mixes/<int:pk>/delete/", steering_views.mix_delete, name="mix_delete"),
    path("<int:pk>/rename/", views.conversation_rename, name="rename"),
    path("<int:pk>/delete/", views.conversation_delete, name="delete"),
    path("<int:pk>/export/", views.conversation_export, name="conversation_export"),
    path("<int:pk>/vote/", views.conversation_vote, name="vote"),
    path("<int:pk>/copy/", views.conversation_copy, name="copy"),
]
