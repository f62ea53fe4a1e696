"""Addresses of sockets."""

from __future__ import annotations

from django.urls import re_path

from webapp.runs.consumers import RunConsumer

websocket_urlpatterns = [re_path(r"^ws/runs/(?P<pk>\d{1,18})/$", RunConsumer.as_asgi())]
