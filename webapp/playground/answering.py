"""A prompt's way: checked, stored, sent to the worker, and both answers shown and stored as they come."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from channels.db import database_sync_to_async

from webapp.accounts.numbers import row_key
from webapp.playground import services, stream
from webapp.playground.chat_events import LAST, ChatEvent
from webapp.playground.conversation import ShownConversation, ShownTurn, Ticks, ticks_of, with_rewards
from webapp.playground.gate import CALLER, Caller
from webapp.playground.history import conversation_shown
from webapp.playground.models import Conversation, Turn
from webapp.playground.selectors import NotYours, Policies, policies_of
from webapp.playground.view import at_rest, now_html, status, view, while_answering

LONGEST_PROMPT = 8000  # characters
MOST_TURNS = 40
MOST_ATTEMPTS = 50  # at one turn
AUTO = "auto"
LONGEST_SYSTEM = 4000
_DICE = random.SystemRandom()
PAUSE = 0.05  # seconds between two drawings of a growing answer


@dataclass(frozen=True)
class Desk:
    """All that a handler looks up for its caller: nothing of it comes from the browser."""

    caller: Caller
    policies: Policies
    ticks: Ticks
    talk: ShownConversation | None

    @property
    def team(self) -> int:
        return self.caller.team or 0

    def empty(self, left: str, right: str) -> ShownConversation:
        """A conversation that has not begun."""
        return self._begun((left, right))

    def begun(self, left: str, right: str, *, blind: bool, system: str) -> ShownConversation:
        """A conversation that begins now: a blind one has its sides shuffled."""
        policies = (right, left) if blind and _DICE.random() < 0.5 else (left, right)
        return replace(self._begun(policies), is_blind=blind, system=system.strip())

    def _begun(self, policies: tuple[str, str]) -> ShownConversation:
        titles = {choice.key: choice.title for choice in self.policies.choices}
        return ShownConversation(policies, (titles.get(policies[0], ""), titles.get(policies[1], "")))


async def desk_of(request: gr.Request, chat: str | None) -> Desk:
    """What the caller may use, and the conversation `chat` if it is one of the team."""
    caller: Caller = request.request.scope[CALLER]  # the gate lets no request through without one

    def read() -> Desk:
        ticks = ticks_of(caller.team or 0)
        talk = conversation_shown(caller.team or 0, caller.user, row_key(chat), ticks)
        return Desk(caller, policies_of(caller.team or 0), ticks, talk)

    desk: Desk = await database_sync_to_async(read)()
    return desk


async def answers(desk: Desk, prompt: str, left: str, right: str, scorer: str, sampling: stream.ChatSampling,
                  chat: str, *, replaces: bool, is_from_box: bool, blind: bool, system: str,
                  ) -> AsyncGenerator[tuple[Any, ...], None]:  # fmt: skip
    """Answer a prompt with both policies; with `replaces`, as another attempt at the last turn. A prompt from the box
    leaves it when it is sent, and comes back if it fails."""
    talk = desk.talk or desk.begun(left, right, blind=blind, system=system)
    try:
        if chat and desk.talk is None:
            raise stream.ChatFailed("This conversation was deleted.", "Start a new conversation.")
        if not talk.is_of(left, right) or talk.is_blind != blind:
            talk = desk.begun(left, right, blind=blind, system=system)
        before = replace(talk, turns=talk.turns[:-1]) if replaces else talk
        request = _request(desk, before, prompt, scorer, sampling)
        stored = await _start(desk, talk, request, prompt, replaces=replaces)
    except stream.ChatFailed as error:
        yield view(status=status(error.cause, error.remedy))
        return
    before = replace(before, pk=stored.conversation_id)
    turn = ShownTurn(prompt, pk=stored.pk, place=stored.attempt, attempts=stored.attempt, sampling=stored.sampling)
    message, has_failed = status("Waiting for the inference worker ..."), False
    yield view(**while_answering(before, turn, request.id), status=message, prompt="" if is_from_box else gr.skip())
    drawn = time.monotonic()
    try:
        async with aclosing(stream.events(request)) as events:
            async for event in events:
                turn, message = advanced(turn, event, desk.ticks, sampling.seed)
                has_failed = event["kind"] == "failed"
                if event["kind"] in LAST:
                    break
                if event["kind"] != "piece" or time.monotonic() - drawn > PAUSE:
                    yield view(now=now_html(before, turn), status=message)
                    drawn = time.monotonic()
    except stream.ChatFailed as error:
        message, has_failed = status(error.cause, error.remedy), True
    finally:  # also when the page was closed: what was said so far stays
        has_failed = has_failed and not any(answer.text for answer in turn.answers)
        await asyncio.shield(_end(turn, has_failed=has_failed))
    shown = await _reread(desk, before) or desk.empty(left, right)
    yield view(**at_rest(shown), status=message, prompt=prompt if has_failed and is_from_box else gr.skip())


async def _start(desk: Desk, talk: ShownConversation, request: stream.Request, prompt: str, *, replaces: bool) -> Turn:
    try:
        turn: Turn = await database_sync_to_async(services.turn_start)(
            team_id=desk.team, user_id=desk.caller.user, talk=talk, prompt=prompt, sampling=request.sampling,
            scored_by=request.scorer, replaces=replaces)
    except Conversation.DoesNotExist:
        raise stream.ChatFailed("This conversation belongs to a member of your team.",
                                "Press “Continue as a copy” to go on with it.") from None
    return turn


async def _end(turn: ShownTurn, *, has_failed: bool) -> None:
    if turn.pk is None:
        return
    if has_failed:
        await database_sync_to_async(services.turn_drop)(turn_id=turn.pk)
    else:
        await database_sync_to_async(services.turn_finish)(turn_id=turn.pk, shown=turn.stopped())


async def _reread(desk: Desk, talk: ShownConversation) -> ShownConversation | None:
    """The conversation as it is stored now; None if its only turn failed or it was deleted."""
    shown: ShownConversation | None = await database_sync_to_async(conversation_shown)(
        desk.team, desk.caller.user, talk.pk, desk.ticks)
    return shown


def advanced(turn: ShownTurn, event: ChatEvent, ticks: Ticks, seed: int) -> tuple[ShownTurn, str]:
    """The turn after an event of the stream, and the new text of the status line."""
    match event["kind"]:
        case "waiting":
            return turn, status(_place(event.get("ahead")))
        case "loading":
            return turn, status(f"Loading policy {'AB'[event['side']]} ...")
        case "piece":
            text = turn.answers[event["side"]].text + event["text"]
            return turn.with_answer(event["side"], text=text), status("Answering ...")
        case "answer":
            turn = turn.with_answer(event["side"], text=event["text"], tokens=event["tokens"],
                                    seconds=event["seconds"], end="complete" if event["ended"] else "cut")
            return turn, status("Answering ...")
        case "rewards":
            return with_rewards(turn, event, ticks), status("")
        case "failed":
            return turn, status(event["cause"], event["remedy"])
        case "finished" if event["cancelled"]:
            return turn.stopped(), status("Stopped.")
        case "finished":
            return turn, status(f"Done, with seed {seed}.")
    return turn, status("The inference worker has started ...")


def _place(ahead: int | None) -> str:
    if not ahead:
        return "The inference worker is busy with other chats; this one is waiting."
    return f"{ahead} chat is before yours." if ahead == 1 else f"{ahead} chats are before yours."


def _request(desk: Desk, before: ShownConversation, prompt: str, scorer: str,
             sampling: stream.ChatSampling) -> stream.Request:
    """The request to the worker, checked against what this team may use."""
    if len(prompt) > LONGEST_PROMPT:
        raise stream.ChatFailed(f"The prompt has {len(prompt):,} characters; the limit is {LONGEST_PROMPT:,}.",
                                "Shorten it.")
    if len(before.system) > LONGEST_SYSTEM:
        raise stream.ChatFailed(f"The system prompt has {len(before.system):,} characters; the limit is "
                                f"{LONGEST_SYSTEM:,}.", "Shorten it.")
    if len(before.turns) >= MOST_TURNS:
        raise stream.ChatFailed(f"This conversation has reached the limit of {MOST_TURNS} turns.",
                                "Start a new conversation.")
    if desk.talk is not None and desk.talk.turns and desk.talk.turns[-1].attempts >= MOST_ATTEMPTS \
            and len(before.turns) < len(desk.talk.turns):
        raise stream.ChatFailed(f"This turn has reached the limit of {MOST_ATTEMPTS} attempts.", "Send a new prompt.")
    policies = desk.policies
    try:
        references = [policies.reference(key) for key in before.policies]
    except NotYours:
        raise stream.ChatFailed("One of these policies is not available to your team.",
                                "Choose another policy; that starts a new conversation.") from None
    scoring = policies.scorer(before.policies, None if scorer == AUTO else row_key(scorer))
    return stream.Request(team=desk.team, policies=references, sampling=sampling,
                          dialogues=[before.dialogue(side, prompt) for side in (0, 1)],
                          scorer=scoring.run if scoring else None)


def sampling_of(temperature: float, top_p: float, longest: float, seed: float | None) -> stream.ChatSampling:
    """The sampling settings, clamped to their bounds; without a seed a new one is drawn for each prompt."""
    chosen = random.randrange(2**31) if seed is None else int(seed) % 2**31
    return stream.ChatSampling(min(max(float(temperature), 0.05), 2.0), min(max(float(top_p), 0.05), 1.0),
                               min(max(int(longest), 1), 1024), chosen)
