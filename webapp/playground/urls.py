from __future__ import annotations

from django.urls import path

from webapp.playground import views

app_name = "playground"
urlpatterns = [
    path("", views.page, name="page"),
    path("history/", views.history, name="history"),
    path("<int:pk>/rename/", views.conversation_rename, name="rename"),
    path("<int:pk>/delete/", views.conversation_delete, name="delete"),
    path("<int:pk>/copy/", views.conversation_copy, name="copy"),
]
