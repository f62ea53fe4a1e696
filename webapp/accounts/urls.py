from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from webapp.accounts import views

urlpatterns = [
    path("login/", views.LoginPage.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("team/", views.team, name="team"),
    path("team/members/", views.member_add, name="member_add"),
    path("team/members/<int:pk>/remove/", views.member_remove, name="member_remove"),
    path("search/", views.search, name="search"),
    path("theme/", views.theme, name="theme"),
]
