"""The inference worker: what it writes to a chat's stream on a real Redis or Valkey server, with tiny policies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from training.errors import ModelUnavailable, OutOfMemory
from training.run.artifacts import kept_policy
from webapp.accounts.models import Team
from webapp.playground.stream import ChatSampling, Request, cancel_key, stream_key
from webapp.runs.models import Stage
from workers import chat_queue, inference
from workers.loaded_models import Loaded

DEMO = {"stage": None, "sft": None, "base": "demo-world"}
ASK = [{"role": "user", "content": "Which bird is that?"}]


class Parrot:
    """A policy that says what it was made to say, a word whenever somebody listens."""

    longest = 100

    def __init__(self, words: list[str], between: Callable[[], None] = lambda: None) -> None:
        self.words, self.between = words, between
        self.is_idle = True

    def count_tokens(self, asked: Any) -> int:
        return sum(len(message["content"]) for message in asked) if isinstance(asked, list) else len(asked.split())

    def put(self, dialogue: Any, adapter: Any, sampling: Any, seed: int, tell: Callable[[], None]) -> Said:
        return self.begin(dialogue, tell, max_new_tokens=sampling.max_new_tokens)

    def advance(self) -> None: ...

    def begin(self, dialogue: Any, tell: Callable[[], None], **sampling: Any) -> Said:
        return Said(self.words[:sampling["max_new_tokens"]], self.between)


class Said:
    """A reply of a parrot."""

    def __init__(self, words: list[str], between: Callable[[], None]) -> None:
        self.words, self.between = list(words), between
        self.is_stopped = False

    @property
    def ended(self) -> bool:
        return len(self.words) <= 1

    def take(self) -> str:
        word = self.words.pop(0) if self.words else ""
        self.between()
        return word

    def stop(self) -> None:
        self.is_stopped = True


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_URL) as connected:
        yield connected


@pytest.fixture
def speakers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put policies in the place of the two that would be loaded."""

    def put(*policies: Any) -> None:
        monkeypatch.setattr(inference, "_policy", lambda asked, side, writer: policies[side])

    return put


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_loaded", Loaded())


def asking(**changes: Any) -> Request:
    return Request(**({"team": 1, "policies": [DEMO, DEMO], "dialogues": [ASK, ASK], "scorer": None,
                       "sampling": ChatSampling(max_new_tokens=5)} | changes))


def events_of(client: redis.Redis, request: Request) -> list[dict[str, Any]]:
    return [json.loads(fields[b"event"]) for _, fields in client.xrange(stream_key(request.id))]


def test_both_answers_come_in_pieces_and_then_whole(client: redis.Redis, speakers: Callable[..., None]) -> None:
    speakers(Parrot(["It ", "is ", "a ", "lark."]), Parrot(["No, ", "no."]))
    request = asking()
    inference.answer(request)
    events = events_of(client, request)
    assert events[-1] == {"kind": "finished", "cancelled": False}
    answers = {event["side"]: event for event in events if event["kind"] == "answer"}
    assert [answers[side]["text"] for side in (0, 1)] == ["It is a lark.", "No, no."]
    assert answers[0]["tokens"] == 4
    assert answers[0]["ended"]
    first_pieces = [event["side"] for event in events if event["kind"] == "piece"][:2]
    assert first_pieces == [0, 1], "side by side, not one after the other"


def test_an_answer_cut_at_the_limit_says_so(client: redis.Redis, speakers: Callable[..., None]) -> None:
    speakers(Parrot(["so "] * 50), Parrot(["No."]))
    request = asking()
    inference.answer(request)
    cut = next(event for event in events_of(client, request) if event["kind"] == "answer" and event["side"] == 0)
    assert (cut["tokens"], cut["ended"]) == (5, False)


def test_pieces_are_gathered_to_about_twenty_a_second(client: redis.Redis, speakers: Callable[..., None]) -> None:
    speakers(Parrot(["x"] * 20), Parrot(["y"] * 20))
    request = asking(sampling=ChatSampling(max_new_tokens=20))
    inference.answer(request)
    events = events_of(client, request)
    seconds = max(event["seconds"] for event in events if event["kind"] == "answer")
    assert sum(event["kind"] == "piece" for event in events) <= 2 * (seconds / inference.BEAT + 3)


def test_a_stop_is_obeyed_in_the_middle(
    client: redis.Redis, speakers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "BEAT", 0.0)
    request = asking(sampling=ChatSampling(max_new_tokens=1000))
    pieces: list[None] = []

    def stop_after_three() -> None:
        pieces.append(None)
        if len(pieces) == 3:
            client.set(cancel_key(request.id), 1)

    speakers(Parrot(["word "] * 1000, stop_after_three), Parrot(["word "] * 1000))
    inference.answer(request)
    assert events_of(client, request)[-1] == {"kind": "finished", "cancelled": True}
    assert len(pieces) < 10


def test_a_chat_that_was_given_up_before_it_began_is_not_answered_and_its_page_hears_that_it_ended(
        client: redis.Redis) -> None:
    request = asking()
    client.set(cancel_key(request.id), 1)
    inference.chat(request.as_json())
    assert events_of(client, request) == [{"kind": "finished", "cancelled": True}]


def test_a_model_that_cannot_be_loaded_is_said(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ModelUnavailable("The base model 'x' could not be loaded.", "Check its name.")

    monkeypatch.setattr(inference, "_policy", fail)
    request = asking()
    inference.answer(request)
    assert events_of(client, request)[-1] == {
        "kind": "failed", "cause": "The base model 'x' could not be loaded.", "remedy": "Check its name."}


def test_an_unknown_error_is_said_too_and_the_next_chat_goes_on(
    client: redis.Redis, speakers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    speakers(Parrot(["x"]), None)
    broken = asking()
    inference.answer(broken)
    assert events_of(client, broken)[-1]["kind"] == "failed"
    assert "secret" not in json.dumps(events_of(client, broken))
    speakers(Parrot(["x"]), Parrot(["y"]))
    after = asking()
    inference.answer(after)
    assert events_of(client, after)[-1] == {"kind": "finished", "cancelled": False}


# Waiting for one's turn -----------------------------------------------------------------------------------------------


@pytest.fixture
def go_on(
    client: redis.Redis, speakers: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
) -> Iterator[threading.Event]:
    """The worker answers one chat at a time, is in the middle of one, and goes on when this event is set."""
    monkeypatch.setattr(inference, "_chats", inference.new_queue(1))
    inside, released = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        released.wait(20)

    speakers(Parrot(["x"], wait), Parrot(["y"]))
    inference.chat(asking().as_json())
    assert inside.wait(5)
    yield released
    released.set()


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def kinds(client: redis.Redis, request: Request) -> list[str]:
    return [event["kind"] for event in events_of(client, request)]


def test_chats_that_wait_hold_no_thread_and_come_in_order(client: redis.Redis, go_on: threading.Event) -> None:
    waiting = [asking() for _ in range(20)]
    threads = threading.active_count()
    for request in waiting:
        inference.chat(request.as_json())  # returns at once: the thread of the pool is free again
    assert threading.active_count() == threads
    assert all(kinds(client, request) == ["started", "waiting"] for request in waiting)
    go_on.set()
    until(lambda: kinds(client, waiting[-1])[-1] == "finished")
    ended = [client.xrevrange(stream_key(request.id), count=1)[0][0] for request in waiting]
    assert ended == sorted(ended)


def test_everybody_hears_how_many_chats_are_before_theirs_and_again_when_that_changes(
    client: redis.Redis, go_on: threading.Event,
) -> None:
    """One at a time, one chat is answered; the first of those who wait leaves, so the others move up by one."""
    first, second, third = (asking() for _ in range(3))
    for request in (first, second, third):
        inference.chat(request.as_json())

    def places(request: Request) -> list[int]:
        return [event["ahead"] for event in events_of(client, request) if event["kind"] == "waiting"]

    assert [places(request) for request in (first, second, third)] == [[1], [2], [3]]
    client.set(cancel_key(first.id), 1)
    until(lambda: places(third) == [3, 2])
    assert [places(request) for request in (first, second)] == [[1], [2, 1]]
    go_on.set()
    until(lambda: kinds(client, third)[-1] == "finished")
    assert places(third)[-1] >= 1, "who is answered is told no place"


def test_a_chat_that_is_stopped_while_it_waits_ends_at_once_and_loads_nothing(
    client: redis.Redis, go_on: threading.Event,
) -> None:
    request = asking()
    inference.chat(request.as_json())
    client.set(cancel_key(request.id), 1)
    until(lambda: kinds(client, request)[-1] == "finished")
    go_on.set()
    assert kinds(client, request) == ["started", "waiting", "finished"]
    assert events_of(client, request)[-1]["cancelled"]


def test_a_chat_too_many_is_refused_with_words(
    client: redis.Redis, go_on: threading.Event, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_queue, "MOST_WAITING", 1)
    requests = [asking(), asking()]
    for request in requests:
        inference.chat(request.as_json())
    assert kinds(client, requests[0]) == ["started", "waiting"]
    refused = events_of(client, requests[1])[-1]
    assert refused["kind"] == "failed" and "Try again" in refused["remedy"]


def test_when_the_worker_ends_everyone_hears_it() -> None:
    failures: list[tuple[str, str]] = []
    inside = threading.Event()

    def answer(request: Request) -> None:
        inside.set()
        threading.Event().wait(5)

    chats = chat_queue.ChatQueue(answer, lambda request, cause, remedy: failures.append((request.id, cause)),
                                 lambda request: False, lambda request: None)
    first, second = asking(), asking()
    chats.put(first)
    assert inside.wait(5)
    chats.put(second)
    chats.close()
    assert failures == [(first.id, "The inference worker is being stopped."),
                    (second.id, "The inference worker is being stopped.")]
    chats.put(asking())
    assert "being stopped" in failures[-1][1]


# Policies that are loaded ---------------------------------------------------------------------------------------------


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    """The bases that were loaded: names, or folders that a stage made."""
    made: list[str | Path] = []

    def load(base: str | Path, device: Any, precision: str) -> Parrot:
        made.append(base)
        return Parrot(["Yes."])

    monkeypatch.setattr(inference, "_load_base", load)
    return made


def stage_of(team: Team, **fields: Any) -> Stage:
    values = {"identity": "a" * 64, "name": "ppo", "kind": "ppo", "status": "succeeded"} | fields
    return Stage.objects.create(team=team, **values)


def test_policies_on_the_same_weights_share_one_base_which_is_loaded_once(
    client: redis.Redis, team: Team, loads: list[Any],
) -> None:
    tuned = stage_of(team, settings={"precision": "fp32"})
    policies = [DEMO, {"stage": tuned.pk, "sft": None, "base": "demo-world"}]
    for _ in range(2):
        request = asking(team=team.pk, policies=policies)
        inference.answer(request)
    assert loads == ["demo-world"]
    assert "loading" not in [event["kind"] for event in events_of(client, request)]


def test_weights_of_their_own_or_another_precision_are_another_base(team: Team, loads: list[Any]) -> None:
    started, bf16 = stage_of(team, kind="sft", name="sft"), stage_of(team, settings={"precision": "bf16"}, identity="b")
    inference.answer(asking(team=team.pk, policies=[DEMO, {"stage": None, "sft": started.pk, "base": "demo-world"}]))
    inference.answer(asking(team=team.pk, policies=[DEMO, {"stage": bf16.pk, "sft": None, "base": "demo-world"}]))
    assert loads == ["demo-world", started.folder / "model", "demo-world"]


def test_a_policy_that_was_kept_on_the_way_is_read_from_where_its_stage_kept_it(
        client: redis.Redis, team: Team, loads: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    adapters: list[Path | None] = []
    made = inference.BatchedPolicy
    monkeypatch.setattr(inference, "BatchedPolicy", lambda engine, batch, adapter: (
        adapters.append(adapter), made(engine, batch, None))[1])
    tuned, full = stage_of(team), stage_of(team, identity="b")
    (kept_policy(tuned.folder, 40) / "adapter").mkdir(parents=True)
    (kept_policy(full.folder, 40) / "model").mkdir(parents=True)
    inference.answer(asking(team=team.pk, policies=[
        {"stage": tuned.pk, "sft": None, "base": "demo-world", "step": 40},
        {"stage": full.pk, "sft": None, "base": "demo-world", "step": 40}]))
    assert adapters == [tuned.folder / "kept" / "step-00000040" / "adapter", None]
    assert loads == ["demo-world", full.folder / "kept" / "step-00000040" / "model"]

    request = asking(team=team.pk, policies=[{"stage": tuned.pk, "sft": None, "base": "demo-world", "step": 41}, DEMO])
    inference.answer(request)
    assert events_of(client, request)[-1]["cause"] == "The policy of step 41 was not kept."


@pytest.mark.parametrize("fields", [{"status": "running"}, {}])
def test_a_stage_that_is_not_the_teams_or_not_done_is_not_loaded(
    client: redis.Redis, team: Team, other_team: Team, loads: list[Any], fields: dict[str, str]
) -> None:
    stage = stage_of(team if fields else other_team, **fields)
    request = asking(team=team.pk, policies=[{"stage": stage.pk, "sft": None, "base": "demo-world"}, DEMO])
    inference.answer(request)
    assert events_of(client, request)[-1]["cause"] == "The files of this policy no longer exist."
    assert loads == []


def test_a_conversation_without_room_for_an_answer_is_refused(
    client: redis.Redis, team: Team, loads: list[Any]
) -> None:
    long = [{"role": "user", "content": "x" * 96}]
    request = asking(team=team.pk, dialogues=[long, long])
    inference.answer(request)
    failed = events_of(client, request)[-1]
    assert failed["cause"] == ("The conversation with policy A has 96 tokens. With an answer of up to 5 tokens, 95 "
                               "fit.")


def test_the_models_used_last_stay() -> None:
    loaded = Loaded(most=2)
    made: list[str] = []

    def load(name: str) -> str:
        made.append(name)
        return name

    for name in ("a", "b", "a", "c", "a", "b"):
        assert loaded.get(name, partial(load, name)) == name
    assert made == ["a", "b", "c", "b"]


def test_a_model_that_somebody_chats_with_stays() -> None:
    loaded = Loaded(most=1)
    busy = Parrot([])
    busy.is_idle = False
    assert loaded.get("busy", lambda: busy) is busy
    loaded.get("other", lambda: "model")
    assert "busy" in loaded


def test_who_asks_for_a_model_that_is_there_does_not_wait_for_one_that_is_being_loaded() -> None:
    loaded = Loaded()
    loaded.get("there", lambda: "model")
    inside, go_on = threading.Event(), threading.Event()

    def load() -> str:
        inside.set()
        go_on.wait(20)
        return "large"

    loading = threading.Thread(target=loaded.get, args=("large", load))
    loading.start()
    assert inside.wait(5)
    assert loaded.get("there", lambda: "another") == "model"
    go_on.set()
    loading.join(5)
    assert "large" in loaded


def test_when_memory_runs_out_the_others_make_room() -> None:
    loaded = Loaded()
    loaded.get("old", lambda: "model")

    def load() -> str:
        if "old" in loaded:
            raise OutOfMemory("No memory left.", "Choose a smaller base.")
        return "new"

    assert loaded.get("new", load) == "new"
    assert "old" not in loaded
