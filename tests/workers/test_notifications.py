"""Who watches a run is told within moments that it changed; a channel layer that is away hurts nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from pytest_django.fixtures import Settings

from tests.workers.conftest import points, run_stage
from webapp.runs.models import Run, Stage

pytestmark = pytest.mark.django_db(transaction=True)
Scripted = Callable[..., Stage]


def test_recording_notifies_the_runs_group_and_the_teams(scripted: Scripted) -> None:
    stage = scripted(steps=5)
    run = Run.objects.get()
    messages: dict[str, object] = {}

    async def listen(ready: threading.Event) -> None:
        layer = get_channel_layer()
        channels = {}
        for group in (f"run.{run.pk}", f"runs.team.{run.team_id}"):
            channels[group] = await layer.new_channel()
            await layer.group_add(group, channels[group])
        ready.set()
        for group, channel in channels.items():
            messages[group] = await asyncio.wait_for(layer.receive(channel), 20)

    ready = threading.Event()
    listener = threading.Thread(target=lambda: async_to_sync(listen)(ready))
    listener.start()
    assert ready.wait(10)
    run_stage(stage.pk)
    listener.join(25)

    assert messages == {f"run.{run.pk}": {"type": "run.changed"}, f"runs.team.{run.team_id}": {"type": "run.changed"}}


def test_a_channel_layer_that_is_away_costs_no_point(scripted: Scripted, settings: Settings) -> None:
    stage = scripted(steps=5)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                                           "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}}
    run_stage(stage.pk)
    assert points(stage) == [1, 2, 3, 4, 5]
    assert Stage.objects.get(pk=stage.pk).status == Stage.Status.SUCCEEDED
