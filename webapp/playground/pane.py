"""The Gradio pane of the playground, mounted behind the gate: two policies, one prompt, tokens side by side.

`application` is the ASGI app for every path under /playground/pane and for the server's lifespan events (Gradio starts
its queue in them). The choices of a caller are looked up for each request: the page's configuration contains nothing of
a team, and a key that was not offered is refused. Left out: markdown in answers (they are shown as plain text), plots,
uploads, and a memory of conversations beyond the open page.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import fastapi
import gradio as gr
from channels.db import database_sync_to_async

from training.demo_world.language import prompts as demo_prompts
from webapp.accounts.numbers import row_key
from webapp.playground import stream
from webapp.playground.chat_events import LAST, ChatEvent
from webapp.playground.conversation import Conversation, Turn, column_html, ticks_of, with_rewards
from webapp.playground.gate import CALLER, PREFIX, Caller, Gate
from webapp.playground.look import HEAD, theme
from webapp.playground.selectors import NotYours, Policies, policies_of

LONGEST_PROMPT = 8000  # characters
MOST_TURNS = 40
AUTO = "auto"


def caller_of(request: gr.Request) -> Caller:
    """The caller that the gate identified; the gate lets no request through without one."""
    caller: Caller = request.request.scope[CALLER]
    return caller


async def opened(request: gr.Request) -> tuple[Any, ...]:
    """The page's initial state: the team's policies, with a run's initial policy against its tuned one."""
    caller = caller_of(request)
    policies = await database_sync_to_async(policies_of)(caller.team or 0)
    left, right = policies.pair_for(row_key(request.query_params.get("run", "")))
    choices = [(choice.title, choice.key) for choice in policies.choices]
    scorers = [("the run of policy B, else of policy A", AUTO), *((run.name, str(run.run)) for run in policies.runs)]
    return (gr.Dropdown(choices=choices, value=left), gr.Dropdown(choices=choices, value=right),
            gr.Dropdown(choices=scorers, value=AUTO), Conversation(), *_columns([], policies, (left, right)),
            gr.Row(visible=any(map(policies.speaks_demo, (left, right)))))


async def chat(prompt: str, left: str, right: str, scorer: str, temperature: float, top_p: float, longest: float,
               seed: float | None, talk: Conversation, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
    """Answer a prompt with both policies; yields both columns, the status, the conversation, the id and the buttons."""
    caller = caller_of(request)
    keys = (left, right)
    policies = await database_sync_to_async(policies_of)(caller.team or 0)
    if talk.policies != keys:
        talk = Conversation(keys)
    try:
        sampling = _sampling(temperature, top_p, longest, seed)
        chat_request = _request(caller, policies, prompt.strip(), keys, scorer, sampling, talk)
    except stream.ChatFailed as error:
        status = _status(error.cause, error.remedy)
        yield (*_columns(talk.turns, policies, keys), status, talk, "", *_buttons(False), prompt)
        return
    ticks = await database_sync_to_async(ticks_of)(caller.team or 0)
    turn, status = Turn(prompt.strip()), _status("Waiting for the inference worker ...")
    yield (*_columns([*talk.turns, turn], policies, keys), status, talk, chat_request.id, *_buttons(True), "")
    try:
        async with aclosing(stream.events(chat_request)) as events:
            async for event in events:
                turn, status = advanced(turn, event, ticks, chat_request.sampling.seed)
                if event["kind"] in LAST:
                    break
                columns = _columns([*talk.turns, turn], policies, keys)
                yield (*columns, status, talk, chat_request.id, *_buttons(True), gr.skip())
    except stream.ChatFailed as error:
        status = _status(error.cause, error.remedy)
    if any(answer.text for answer in turn.answers):
        talk = Conversation(keys, [*talk.turns, turn])
    is_complete = bool(talk.turns) and talk.turns[-1] is turn
    box = gr.skip() if is_complete else prompt  # the next prompt may be in it already
    yield (*_columns(talk.turns, policies, keys), status, talk, "", *_buttons(False), box)


def advanced(turn: Turn, event: ChatEvent, ticks: dict[str, dict[str, str]], seed: int) -> tuple[Turn, str]:
    """The turn after an event of the stream, and the new text of the status line."""
    match event["kind"]:
        case "waiting":
            return turn, _status("The inference worker is busy with other chats; this one is waiting.")
        case "loading":
            return turn, _status(f"Loading policy {'AB'[event['side']]} ...")
        case "piece":
            text = turn.answers[event["side"]].text + event["text"]
            return turn.with_answer(event["side"], text=text), _status("Answering ...")
        case "answer":
            note = f"{event['tokens']} tokens in {event['seconds']:.1f} s"
            note += "" if event["ended"] else ", cut at the limit"
            turn = turn.with_answer(event["side"], text=event["text"], note=note, complete=True)
            return turn, _status("Answering ...")
        case "rewards":
            return with_rewards(turn, event, ticks), _status("")
        case "failed":
            return turn, _status(event["cause"], event["remedy"])
        case "finished" if event["cancelled"]:
            for index in (0, 1):
                if not turn.answers[index].complete:
                    turn = turn.with_answer(index, note="stopped", complete=True)
            return turn, _status("Stopped.")
        case "finished":
            return turn, _status(f"Done, with seed {seed}.")
    return turn, _status("The inference worker has started ...")


async def stop(chat_id: str) -> str:
    """Cancel the running chat; the worker sends the last event."""
    if chat_id:
        await stream.cancel(chat_id)
    return _status("Stopping ...")


async def cleared(left: str, right: str, request: gr.Request) -> tuple[Any, ...]:
    """An empty conversation, as after a change of policies."""
    policies = await database_sync_to_async(policies_of)(caller_of(request).team or 0)
    keys = (left, right)
    return (*_columns([], policies, keys), "", Conversation(keys), gr.Row(visible=any(map(policies.speaks_demo, keys))))


def _request(caller: Caller, policies: Policies, prompt: str, keys: tuple[str, str], scorer: str,
             sampling: stream.ChatSampling, talk: Conversation) -> stream.Request:
    """The request to the worker, checked against what this team may use."""
    if not prompt:
        raise stream.ChatFailed("The prompt is empty.", "Write a prompt and send it.")
    if len(prompt) > LONGEST_PROMPT:
        raise stream.ChatFailed(f"The prompt has {len(prompt):,} characters; the limit is {LONGEST_PROMPT:,}.",
                                "Shorten it.")
    if len(talk.turns) >= MOST_TURNS:
        raise stream.ChatFailed(f"This conversation has reached the limit of {MOST_TURNS} turns.",
                                "Start a new conversation.")
    try:
        references = [policies.reference(key) for key in keys]
    except NotYours:
        raise stream.ChatFailed("One of these policies is not available to your team.",
                                "Reload the page and choose again.") from None
    scoring = policies.scorer(keys, None if scorer == AUTO else row_key(scorer))
    return stream.Request(team=caller.team or 0, policies=references, sampling=sampling,
                          dialogues=[talk.dialogue(side, prompt) for side in (0, 1)],
                          scorer=scoring.run if scoring else None)


def _sampling(temperature: float, top_p: float, longest: float, seed: float | None) -> stream.ChatSampling:
    """The sampling settings, clamped to their bounds; without a seed a new one is drawn for each prompt."""
    chosen = random.randrange(2**31) if seed is None else int(seed) % 2**31
    return stream.ChatSampling(min(max(float(temperature), 0.05), 2.0), min(max(float(top_p), 0.05), 1.0),
                               min(max(int(longest), 1), 1024), chosen)


def _columns(turns: list[Turn], policies: Policies, keys: tuple[str, str]) -> tuple[str, str]:
    titles = {choice.key: choice.title for choice in policies.choices}
    return column_html(turns, 0, titles.get(keys[0], "")), column_html(turns, 1, titles.get(keys[1], ""))


def _status(cause: str, remedy: str = "") -> str:
    from django.template.loader import render_to_string

    return render_to_string("playground/_status.html", {"cause": cause, "remedy": remedy})


def _buttons(running: bool) -> tuple[Any, Any]:
    return gr.Button(interactive=not running), gr.Button(visible=running)


def build() -> gr.Blocks:
    """Build the pane's components and connect their events."""
    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with gr.Blocks(title="Concord playground", analytics_enabled=False, fill_width=True) as blocks:
        talk, chat_id = gr.State(Conversation()), gr.State("")
        with gr.Row(equal_height=True):
            left = gr.Dropdown(label="Policy A", choices=[], interactive=True, elem_id="policy-a")
            right = gr.Dropdown(label="Policy B", choices=[], interactive=True, elem_id="policy-b")
        with gr.Row():
            columns = [gr.HTML(js_on_load=None, elem_id=f"column-{side}", apply_default_css=False) for side in "ab"]
        status = gr.HTML(js_on_load=None, elem_id="status", apply_default_css=False)
        with gr.Row(elem_id="ask"):
            prompt = gr.Textbox(label="Prompt to both", lines=1, max_lines=8, max_length=LONGEST_PROMPT, scale=6,
                                elem_id="prompt", placeholder="Ask both policies. Enter sends, Shift+Enter starts a "
                                                              "new line.")
            with gr.Column(scale=1, min_width=120, elem_id="buttons"):
                send = gr.Button("Send", variant="primary", elem_id="send")
                halt = gr.Button("Stop", variant="stop", visible=False, elem_id="stop")
                fresh = gr.Button("New conversation", size="sm", elem_id="fresh")
        with gr.Row(visible=False, elem_id="examples") as examples:
            for question in demo_prompts(3, seed=5, split="train"):
                gr.Button(question, size="sm").click(lambda text=question: text, None, prompt, **hidden)
        with gr.Accordion("Sampling and scoring", open=False, elem_id="settings"):
            with gr.Row():
                temperature = gr.Slider(0.05, 2.0, value=1.0, step=0.05, label="Temperature")
                top_p = gr.Slider(0.05, 1.0, value=1.0, step=0.05, label="Top p")
            with gr.Row():
                longest = gr.Slider(1, 1024, value=64, step=1, label="Longest answer, in tokens")
                seed = gr.Number(value=0, precision=0, label="Seed (leave empty for a new one each time)")
                scorer = gr.Dropdown(label="Scored by the preference models of", choices=[], interactive=True)

        ask = {"fn": chat, "inputs": [prompt, left, right, scorer, temperature, top_p, longest, seed, talk],
               "outputs": [*columns, status, talk, chat_id, send, halt, prompt], "concurrency_limit": 16, **hidden}
        prompt.submit(**ask)
        send.click(**ask)
        halt.click(stop, chat_id, status, queue=False, **hidden)
        for trigger in (fresh.click, left.input, right.input):
            trigger(cleared, [left, right], [*columns, status, talk, examples], **hidden)
        blocks.load(opened, None, [left, right, scorer, talk, *columns, examples], **hidden)
    blocks.queue(max_size=64, api_open=False)
    return blocks


def _username(request: fastapi.Request) -> str | None:
    caller: Caller | None = request.scope.get(CALLER)
    return caller.username if caller else None


lifespan_app = gr.mount_gradio_app(
    fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None), build(), PREFIX, auth_dependency=_username,
    footer_links=[], run_history=False, show_error=False, enable_monitoring=False, ssr_mode=False, mcp_server=False,
    max_file_size=0, pwa=False, theme=theme(), head=HEAD,
)
application = Gate(lifespan_app)
