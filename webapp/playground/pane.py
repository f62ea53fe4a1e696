"""The Gradio pane of the playground, mounted behind the gate: two policies, one prompt, tokens side by side.

`application` is the ASGI app for every path under /playground/pane and for the server's lifespan events (Gradio starts
its queue in them). The choices of a caller and the conversation are looked up for each request: the page's
configuration contains nothing of a team, and a key or a number that is not the team's is refused. Left out: plots and
uploads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import fastapi
import gradio as gr
from channels.db import database_sync_to_async

from training.demo_world.language import prompts as demo_prompts
from webapp.accounts.numbers import row_key
from webapp.playground import saved_prompts, services, stream
from webapp.playground.answering import AUTO, LONGEST_PROMPT, LONGEST_SYSTEM, Desk, answers, desk_of, sampling_of
from webapp.playground.conversation import ShownConversation
from webapp.playground.gate import CALLER, PREFIX, Caller, Gate
from webapp.playground.look import HEAD, theme
from webapp.playground.view import LABELS, OUTPUTS, at_rest, status, view


async def opened(request: gr.Request) -> tuple[Any, ...]:
    """The page's initial state: the conversation that the address names, else a run's initial policy against its tuned
    one."""
    chat = request.query_params.get("chat", "")
    desk = await desk_of(request, chat)
    talk = desk.talk or desk.empty(*desk.policies.pair_for(
        row_key(request.query_params.get("run", "")), request.query_params.get("policy", "")))
    choices = [(choice.title, choice.key) for choice in desk.policies.choices]
    keys = {key for _, key in choices}
    scorers = [("the run of policy B, else of policy A", AUTO),
               *((run.name, str(run.run)) for run in desk.policies.runs)]
    changes = _rest(desk, talk)
    for name, key in zip(("left", "right"), talk.chosen, strict=True):
        changes[name] = gr.Dropdown(choices=choices, value=key if key in keys else None, interactive=talk.is_own,
                                    label=LABELS[talk.is_blind][name == "right"])
    if talk.turns:
        stored = {"temperature": "temperature", "top_p": "top_p", "longest": "max_new_tokens",
                  "seed": "seed"}
        sampling = talk.turns[-1].sampling
        changes |= {name: sampling[field] for name, field in stored.items() if field in sampling}
    message = status("There is no such conversation.") if chat and desk.talk is None else ""
    return view(**changes, scorer=gr.Dropdown(choices=scorers, value=AUTO), status=message,
                saved=gr.Dropdown(choices=await saved_choices(desk), value=None))


async def chat(prompt: str, left: str, right: str, scorer: str, temperature: float, top_p: float, longest: float,
               seed: float | None, talk: str, edits: bool, request: gr.Request, blind: bool = False,
               system: str = "") -> AsyncIterator[tuple[Any, ...]]:
    """Answer a prompt with both policies, as another attempt while the last prompt is edited. No prompt: nothing."""
    if not prompt.strip():
        yield view()
        return
    desk = await desk_of(request, talk)
    sampling = sampling_of(temperature, top_p, longest, seed)
    async with aclosing(answers(desk, prompt.strip(), left, right, scorer, sampling, talk, replaces=edits,
                                is_from_box=True, blind=bool(blind), system=system or "")) as shown:
        async for changes in shown:
            yield changes


async def again(left: str, right: str, scorer: str, temperature: float, top_p: float, longest: float, talk: str,
                request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
    """Another attempt at the last prompt, with a new seed."""
    desk = await desk_of(request, talk)
    if desk.talk is None or not desk.talk.turns:
        yield view()
        return
    prompt, sampling = desk.talk.turns[-1].prompt, sampling_of(temperature, top_p, longest, None)
    async with aclosing(answers(desk, prompt, left, right, scorer, sampling, talk, replaces=True,
                                is_from_box=False, blind=desk.talk.is_blind, system=desk.talk.system)) as shown:
        async for changes in shown:
            yield changes


async def stop(running: str) -> str:
    """Cancel the running chat; the worker sends the last event."""
    if running:
        await stream.cancel(running)
    return status("Stopping ...")


async def policies_chosen(left: str, right: str, talk: str, shown: tuple[str, str],
                          request: gr.Request, blind: bool = False) -> tuple[Any, ...]:
    """A new conversation if a policy really is another one. Gradio calls this also when a list was only opened."""
    if not left or not right or tuple(shown) == (left, right):
        return view()
    desk = await desk_of(request, talk)
    if desk.talk is not None and desk.talk.is_of(left, right):
        return view()
    message = "A new conversation with these policies. The one before is in the history."
    has_turns = desk.talk is not None and desk.talk.turns
    changes = _rest(desk, replace(desk.empty(left, right), is_blind=bool(blind)))
    of_page = {name: changes[name] for name in ("past", "now", "chat", "edits", "tools", "examples", "system")}
    of_page["policies"] = (left, right)
    return view(**of_page, status=status(message if has_turns else ""))


async def cleared(left: str, right: str, request: gr.Request, blind: bool = False,
                  message: str = "") -> tuple[Any, ...]:
    """A new conversation with the same policies, blind or not as the switch says."""
    desk = await desk_of(request, None)
    changes = _rest(desk, replace(desk.empty(left, right), is_blind=bool(blind))) | {"policies": (left, right)}
    return view(**changes, status=status(message) if message else "")


async def blind_chosen(left: str, right: str, blind: bool, talk: str, request: gr.Request) -> tuple[Any, ...]:
    """A new conversation if the one that is shown has begun otherwise."""
    desk = await desk_of(request, talk)
    if desk.talk is not None and desk.talk.is_blind == bool(blind):
        return view()
    message = "A new conversation. The one before is in the history." if desk.talk is not None else ""
    return await cleared(left, right, request, blind, message)


async def reread(talk: str, request: gr.Request) -> tuple[Any, ...]:
    """The conversation as it is stored, after a vote."""
    desk = await desk_of(request, talk)
    return view(**_rest(desk, desk.talk), status="") if desk.talk else view()


async def paged(step: int, talk: str, request: gr.Request) -> tuple[Any, ...]:
    """The attempt before or after the one shown of the last turn; the next prompt follows the one that is shown."""
    desk = await desk_of(request, talk)
    if desk.talk is None or desk.talk.pk is None:
        return view()
    await database_sync_to_async(services.attempt_show)(
        team_id=desk.team, user_id=desk.caller.user, conversation_id=desk.talk.pk, step=step)
    desk = await desk_of(request, talk)
    return view(**_rest(desk, desk.talk)) if desk.talk else view()


async def edited(talk: str, request: gr.Request) -> tuple[Any, ...]:
    """Put the last prompt into the box; sending it makes another attempt at the last turn."""
    desk = await desk_of(request, talk)
    if desk.talk is None or not desk.talk.turns:
        return view()
    return view(edits=True, prompt=desk.talk.turns[-1].prompt, edit=gr.Button(visible=False),
                cancel_edit=gr.Button(visible=True),
                status=status("Change the prompt and send it. The answers so far are kept as an earlier attempt."))


def edit_cancelled() -> tuple[Any, ...]:
    return view(edits=False, prompt="", edit=gr.Button(visible=True), cancel_edit=gr.Button(visible=False), status="")


def _rest(desk: Desk, talk: ShownConversation) -> dict[str, Any]:
    return at_rest(talk, speaks_demo=any(map(desk.policies.speaks_demo, talk.policies)))


async def saved_choices(desk: Desk) -> list[tuple[str, str]]:
    choices: list[tuple[str, str]] = await database_sync_to_async(saved_prompts.choices_of)(desk.team)
    return choices


async def prompt_saved(prompt: str, request: gr.Request) -> tuple[Any, ...]:
    """Keep the prompt in the box for the team."""
    desk = await desk_of(request, None)
    problem = await database_sync_to_async(saved_prompts.prompt_save)(
        team_id=desk.team, user_id=desk.caller.user, text=prompt)
    if problem:
        return view(status=status(*problem))
    return view(saved=gr.Dropdown(choices=await saved_choices(desk), value=None), status=status("The prompt is saved."))


async def prompt_picked(saved: str | None, request: gr.Request) -> tuple[Any, ...]:
    """Put a saved prompt into the box."""
    desk = await desk_of(request, None)
    text = await database_sync_to_async(saved_prompts.text_of)(desk.team, row_key(saved))
    return view(prompt=text) if text else view()


async def prompt_deleted(saved: str | None, request: gr.Request) -> tuple[Any, ...]:
    """Delete the saved prompt that is chosen in the list; the box keeps its text."""
    desk = await desk_of(request, None)
    is_gone = await database_sync_to_async(saved_prompts.prompt_delete)(team_id=desk.team, pk=row_key(saved))
    return view(saved=gr.Dropdown(choices=await saved_choices(desk), value=None),
                status=status("The saved prompt is deleted." if is_gone else "Choose a saved prompt first."))


def build() -> gr.Blocks:
    """Build the pane's components and connect their events."""
    with gr.Blocks(title="Concord playground", analytics_enabled=False, fill_width=True) as blocks:
        parts = _components()
        _connect(blocks, parts)
    blocks.queue(max_size=64, api_open=False)
    return blocks


def _components() -> dict[str, Any]:
    """The components by name, from top to bottom: policies, turns, composer."""
    parts: dict[str, Any] = {"running": gr.State(""), "edits": gr.State(False), "policies": gr.State(("", ""))}
    html: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
    with gr.Column(elem_id="frame"):
        with gr.Row(elem_id="policies"):
            parts["left"] = gr.Dropdown(label="Policy A", choices=[], interactive=True, elem_id="policy-a")
            parts["right"] = gr.Dropdown(label="Policy B", choices=[], interactive=True, elem_id="policy-b")
            parts["blind"] = gr.Checkbox(label="Blind", elem_id="blind", min_width=0, scale=0)
        with gr.Column(elem_id="turns"):
            parts["past"] = gr.HTML(elem_id="past", **html)
            parts["now"] = gr.HTML(elem_id="now", **html)
        parts["refresh"] = gr.Button("Show the vote", visible="hidden", elem_id="refresh")
        parts["chat"] = gr.Textbox(visible="hidden", elem_id="chat", label="Conversation")
        parts["status"] = gr.HTML(elem_id="status", **html)
        with gr.Column(elem_id="composer") as parts["composer"]:
            _composer(parts)
    return parts


def _composer(parts: dict[str, Any]) -> None:
    """What one writes with: tools for the last turn, examples, the prompt, the settings."""
    def small(name: str, text: str, **options: Any) -> None:
        parts[name] = gr.Button(text, size="sm", elem_id=name.replace("_", "-"), min_width=0, **options)

    with gr.Row(visible=False, elem_id="tools") as parts["tools"]:
        small("earlier", "‹ Earlier", visible=False)
        small("later", "Later ›", visible=False)
        small("again", "Try again")
        small("edit", "Edit prompt")
        small("cancel_edit", "Cancel edit", visible=False)
        small("fresh", "New conversation")
    with gr.Row(visible=False, elem_id="examples") as parts["examples"]:
        parts["questions"] = [gr.Button(text, size="sm") for text in demo_prompts(3, seed=5, split="train")]
    with gr.Row(elem_id="ask"):
        parts["prompt"] = gr.Textbox(label="Prompt to both (Enter sends, Shift+Enter starts a new line)", lines=1,
                                     max_lines=6, max_length=LONGEST_PROMPT, scale=6, elem_id="prompt",
                                     placeholder="Ask both policies")
        parts["send"] = gr.Button("Send", variant="primary", elem_id="send", scale=0, min_width=90)
        parts["halt"] = gr.Button("Stop", variant="stop", visible=False, elem_id="stop", scale=0, min_width=90)
    with gr.Accordion("Sampling, scoring, prompts", open=False, elem_id="settings"):
        with gr.Row():
            parts["temperature"] = gr.Slider(0.05, 2.0, value=1.0, step=0.05, label="Temperature")
            parts["top_p"] = gr.Slider(0.05, 1.0, value=1.0, step=0.05, label="Top p")
        with gr.Row():
            parts["longest"] = gr.Slider(1, 1024, value=64, step=1, label="Longest answer, in tokens")
            parts["seed"] = gr.Number(value=0, precision=0, label="Seed (leave empty for a new one each time)")
            parts["scorer"] = gr.Dropdown(label="Scored by the preference models of", choices=[], interactive=True)
        parts["system"] = gr.Textbox(label="System prompt (of a new conversation)", lines=1, max_lines=4,
                                     max_length=LONGEST_SYSTEM, elem_id="system")
        with gr.Row(elem_id="saved-row"):
            parts["saved"] = gr.Dropdown(label="Saved prompts of the team", choices=[], interactive=True,
                                         elem_id="saved", scale=4)
            small("save", "Save the prompt", scale=0)
            small("unsave", "Delete the saved prompt", scale=0)


def _connect(blocks: gr.Blocks, parts: dict[str, Any]) -> None:
    """Connect each event with its handler; every handler may change every output."""
    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    every: dict[str, Any] = {"outputs": [parts[name] for name in OUTPUTS], **hidden}
    settings = [parts[name] for name in ("left", "right", "scorer", "temperature", "top_p", "longest")]
    ask = {"fn": chat, "inputs": [parts["prompt"], *settings, parts["seed"], parts["chat"], parts["edits"],
                                         parts["blind"], parts["system"]],
           "concurrency_limit": 16, **every}
    parts["prompt"].submit(**ask)
    parts["send"].click(**ask)
    parts["again"].click(again, [*settings, parts["chat"]], concurrency_limit=16, **every)
    parts["halt"].click(stop, parts["running"], parts["status"], concurrency_limit=None, **hidden)
    parts["edit"].click(edited, parts["chat"], **every)
    parts["cancel_edit"].click(edit_cancelled, None, **every)
    for name, step in (("earlier", -1), ("later", 1)):
        parts[name].click(paged, [gr.State(step), parts["chat"]], **every)
    for side in ("left", "right"):
        parts[side].input(policies_chosen, [parts[name] for name in (
            "left", "right", "chat", "policies", "blind")], **every)
    parts["fresh"].click(cleared, [parts["left"], parts["right"], parts["blind"]], **every)
    parts["blind"].input(blind_chosen, [parts[name] for name in ("left", "right", "blind", "chat")], **every)
    parts["refresh"].click(reread, parts["chat"], **every)
    parts["save"].click(prompt_saved, parts["prompt"], **every)
    parts["saved"].input(prompt_picked, parts["saved"], **every)
    parts["unsave"].click(prompt_deleted, parts["saved"], **every)
    for button in parts["questions"]:
        button.click(lambda text=button.value: text, None, parts["prompt"], **hidden)
    blocks.load(opened, None, **every)


def _username(request: fastapi.Request) -> str | None:
    caller: Caller | None = request.scope.get(CALLER)
    return caller.username if caller else None


lifespan_app = gr.mount_gradio_app(
    fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None), build(), PREFIX, auth_dependency=_username,
    footer_links=[], run_history=False, show_error=False, enable_monitoring=False, ssr_mode=False, mcp_server=False,
    max_file_size=0, pwa=False, theme=theme(), head=HEAD,
)
application = Gate(lifespan_app)
