from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from webapp.accounts import people_views, role_views, views
from webapp.accounts.roles import open_to_annotators

urlpatterns = [
    path("login/", views.LoginPage.as_view(), name="login"),
    path("logout/", open_to_annotators(LogoutView.as_view()), name="logout"),
    path("team/", views.team, name="team"),
    path("team/members/", views.member_add, name="member_add"),
    path("team/members/<int:pk>/remove/", views.member_remove, name="member_remove"),
    path("team/members/<int:pk>/role/", role_views.member_role, name="member_role"),
    path("team/switch/", role_views.team_switch, name="team_switch"),
    path("team/invitations/", people_views.invite, name="invite"),
    path("team/invitations/<int:pk>/withdraw/", people_views.withdraw, name="invitation_withdraw"),
    path("join/<str:secret>/", people_views.join, name="join"),
    path("account/", people_views.account, name="account"),
    path("account/log-out-everywhere/", people_views.log_out_everywhere, name="log_out_everywhere"),
    path("search/", views.search, name="search"),
    path("theme/", views.theme, name="theme"),
]
