"""What a handler of the pane changes on the page: a value for each output, and the HTML of turns and status."""

from __future__ import annotations

from typing import Any

import gradio as gr
from django.template.loader import render_to_string

from webapp.playground.conversation import SIDES, ShownConversation, ShownTurn
from webapp.playground.markdown import markdown_html

# The components that every handler may change, in the order in which Gradio gets them. "past" is drawn once a prompt,
# "now" (the turn that is being answered) with each piece of it.
OUTPUTS = ("left", "right", "past", "now", "status", "chat", "running", "edits", "prompt", "send", "halt", "tools",
           "earlier", "later", "again", "edit", "cancel_edit", "fresh", "examples", "composer", "temperature", "top_p",
           "longest", "scorer", "policies", "seed", "blind", "system", "saved")


LABELS = (("Policy A", "Policy B"), ("One policy", "The other policy"))  # not blind, blind

VOTES_BY_PRINCIPLE = (("a", "A"), ("tie", "tie"), ("b", "B"))


def view(**changes: Any) -> tuple[Any, ...]:
    """A value for every output; those that are not named stay as they are."""
    assert changes.keys() <= set(OUTPUTS)
    return tuple(changes.get(name, gr.skip()) for name in OUTPUTS)


def at_rest(talk: ShownConversation, *, speaks_demo: bool = False) -> dict[str, Any]:
    """The changes that show a conversation while no chat is running."""
    last = talk.turns[-1] if talk.turns else None
    can_write = talk.is_own
    return {
        "past": past_html(talk), "now": now_html(talk), "chat": str(talk.pk or ""),
        "policies": talk.chosen, "running": "", "edits": False,
        "left": gr.Dropdown(interactive=can_write, label=LABELS[talk.is_blind][0]),
        "right": gr.Dropdown(interactive=can_write, label=LABELS[talk.is_blind][1]),
        "blind": gr.Checkbox(value=talk.is_blind, interactive=can_write),
        "system": gr.Textbox(value=talk.system, interactive=False) if talk.turns else gr.Textbox(interactive=can_write),
        "send": gr.Button(visible=True), "halt": gr.Button(visible=False),
        "tools": gr.Row(visible=can_write and last is not None),
        "earlier": gr.Button(visible=last is not None and last.attempts > 1,
                             interactive=last is not None and last.place > 1),
        "later": gr.Button(visible=last is not None and last.attempts > 1,
                           interactive=last is not None and last.place < last.attempts),
        "again": gr.Button(interactive=True), "edit": gr.Button(visible=True, interactive=True),
        "cancel_edit": gr.Button(visible=False), "fresh": gr.Button(interactive=True),
        "examples": gr.Row(visible=can_write and speaks_demo and last is None),
        "composer": gr.Column(visible=can_write),
    }


def while_answering(talk: ShownConversation, turn: ShownTurn, running: str) -> dict[str, Any]:
    """The changes when a chat begins: what would disturb it cannot be used until it ends."""
    locked = gr.Button(interactive=False)
    return {
        "past": past_html(talk, all_turns=True), "now": now_html(talk, turn), "chat": str(talk.pk),
        "policies": talk.chosen, "running": running, "edits": False,
        "left": gr.Dropdown(interactive=False, label=LABELS[talk.is_blind][0]),
        "right": gr.Dropdown(interactive=False, label=LABELS[talk.is_blind][1]),
        "blind": gr.Checkbox(interactive=False), "system": gr.Textbox(interactive=False),
        "send": gr.Button(visible=False), "halt": gr.Button(visible=True), "earlier": locked, "later": locked,
        "again": locked, "edit": gr.Button(visible=True, interactive=False), "cancel_edit": gr.Button(visible=False),
        "fresh": locked, "examples": gr.Row(visible=False),
    }


def past_html(talk: ShownConversation, *, all_turns: bool = False) -> str:
    """All turns but the last one, which `now_html` shows; all of them while another one is being answered."""
    turns = talk.turns if all_turns else talk.turns[:-1]
    return "".join(_turn_html(talk, number, turn) for number, turn in enumerate(turns, 1))


def now_html(talk: ShownConversation, turn: ShownTurn | None = None) -> str:
    """The last turn, or the given one after all turns of the conversation; without any, who will answer."""
    number = len(talk.turns) if turn is None else len(talk.turns) + 1
    turn = turn or (talk.turns[-1] if talk.turns else None)
    if turn is None:
        return render_to_string("playground/_empty.html", {"names": zip(SIDES, talk.names, strict=True),
                                                              "hides": talk.hides})
    return _turn_html(talk, number, turn, is_last=True)


def _turn_html(talk: ShownConversation, number: int, turn: ShownTurn, *, is_last: bool = False) -> str:
    """A turn as a row: the prompt once, and both answers beside each other. Every text in it is escaped."""
    answers = [{"side": side, "name": name, "shown": answer, "html": markdown_html(answer.text)}
               for side, name, answer in zip(SIDES, talk.names, turn.answers, strict=True)]
    return render_to_string("playground/_turn.html", {"turn": turn, "number": number, "answers": answers,
                                                      "is_last": is_last, "chat": talk.pk or "",
                                                      "hides": talk.hides, "is_blind": talk.is_blind,
                                                      "sides": VOTES_BY_PRINCIPLE,
                                                      "can_vote": _can_be_voted_on(talk, turn),
                                                      "principles": [score.principle for score in turn.answers[0].scores
                                                                     ]})


def _can_be_voted_on(talk: ShownConversation, turn: ShownTurn) -> bool:
    return talk.is_own and talk.pk is not None and turn.pk is not None and turn.is_complete and turn.vote is None


def status(cause: str, remedy: str = "") -> str:
    return render_to_string("playground/_status.html", {"cause": cause, "remedy": remedy})
