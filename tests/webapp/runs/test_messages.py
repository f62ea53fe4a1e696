"""The live socket has types: the page's script has the server's names, and what is sent is what they say."""

from __future__ import annotations

import json
import re
from typing import Any, get_type_hints

import pytest

from tests.webapp.runs.seeds import add_log, add_points, make_run
from tests.wire import ARRAYS, SCRIPT, script
from webapp.accounts.models import Team, User
from webapp.runs.live.changes import position_now, read_changes
from webapp.runs.live.messages import Delta, Line, NewSample, Place, Points, RunState, StageState, encode
from webapp.runs.models import Sample

pytestmark = pytest.mark.once  # it knows no database

PARTS = {"points": Points, "log": Line, "samples": NewSample}


def source(name: str) -> str:
    return (SCRIPT.parent / name).read_text()


def test_the_pages_end_is_made_from_the_servers_types() -> None:
    assert SCRIPT.read_text() == script(), "run `python -m tests.wire`"


@pytest.mark.django_db
def test_a_delta_has_the_fields_of_its_type_and_no_others(team: Team, owner: User) -> None:
    run, stages = make_run(team, owner)
    position = position_now(run.pk)
    add_points(stages["ppo"], "kl/mean", [1], [0.5])
    add_log(stages["ppo"], "a line")
    Sample.objects.create(stage=stages["ppo"], step=1, index=0, prompt="?", response="!", reward=0, rewards={})
    message = read_changes(run.pk, position)
    assert message is not None
    assert message.keys() == get_type_hints(Delta).keys()
    assert message["run"].keys() == get_type_hints(RunState).keys()
    assert message["stages"][0].keys() == get_type_hints(StageState).keys()
    sent = json.loads(encode(message))
    for part, array in PARTS.items():
        assert [len(row) for row in sent[part]] == [len(array._fields)]


@pytest.mark.parametrize(("name", "pattern", "message"), [
    ("run-store.js", r"const \{ ([\w, ]+) \} = points;", Points),
    ("run-store.js", r"places\.set\(id, \{ ([\w, {}:]+) \}\);", Place),
    ("run-page.js", r"const \{ ([\w, ]+) \} = series;", Points),
    ("run-page.js", r"const \{ ([\w, ]+) \} = line;", Line),
    ("run-page.js", r"const \{ ([\w, ]+) \} of message\.samples", NewSample),
    ("run-parts.js", r"  add\(\{ ([\w, ]+) \}\) \{", Line),
    ("run-parts.js", r"showRun = \(\{ ([\w, ]+) \}\)", RunState),
    ("run-parts.js", r"showStage = \(\{ ([\w, ]+) \}\)", StageState),
])
def test_the_scripts_take_only_fields_that_there_are(name: str, pattern: str, message: Any) -> None:
    (names,) = re.findall(pattern, source(name))
    assert {part.split(":")[0].strip() for part in names.split(",")} <= get_type_hints(message).keys()


@pytest.mark.parametrize("path", ["run-page.js", "run-socket.js"])
def test_the_scripts_read_no_part_of_a_message_that_is_not_sent(path: str) -> None:
    parts = set(re.findall(r"\bmessage\.(\w+)", source(path)))
    assert parts <= get_type_hints(Delta).keys() | {"protocol"}


def test_every_array_is_given_its_names_before_the_page_sees_it() -> None:
    code = source("run-socket.js")
    assert all(f"map(to{array.__name__})" in code for array in ARRAYS)
