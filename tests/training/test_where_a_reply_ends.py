"""A reply ends where another turn begins, at the start of a line, and nowhere else; the chat and the training agree."""

from __future__ import annotations

import pytest

from training.dialogue import STOP_STRINGS, cut_at_stop, reply_so_far
from training.models.chat import pieces


class Characters:
    """A tokenizer whose tokens are bytes."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return bytes(ids).decode("utf-8", errors="replace")


REPLIES = {
    "The Human: a book about us.": "The Human: a book about us.",
    "My Assistant: she is kind": "My Assistant: she is kind",
    "Being Human:\nseason two": "Being Human:\nseason two",
    "a list:\n- Human: 3\n> Assistant: 4": "a list:\n- Human: 3\n> Assistant: 4",
    "Superhuman: yes\nNonHuman: no": "Superhuman: yes\nNonHuman: no",
    "Human rights matter.\nHumans: many": "Human rights matter.\nHumans: many",
    "Yes.\n\nHuman: and you?": "Yes.",
    "Yes.\n\nAssistant: again": "Yes.",
    "Yes.\nHuman: and you?": "Yes.",
    "Human: I ask.": "",
    "  Assistant: I answer.": "",
    "Yes.\n\nHuman": "Yes.\n\nHuman",
    "Yes.\n\nAssist": "Yes.\n\nAssist",
    "\n\n Yes. \n": "Yes.",
    "One\n\nTwo\n\nThree\n\nHuman:": "One\n\nTwo\n\nThree",
    "caf\u00e9 \U0001f600\nHuman: x": "caf\u00e9 \U0001f600",
    "": "",
}


@pytest.mark.parametrize("text", REPLIES)
def test_a_reply_is_cut_where_a_turn_begins(text: str) -> None:
    assert cut_at_stop(text) == REPLIES[text]


@pytest.mark.parametrize("text", REPLIES)
def test_the_chat_shows_what_the_training_scores(text: str) -> None:
    assert "".join(pieces(Characters(), iter(text.encode()))) == cut_at_stop(text)


@pytest.mark.parametrize("text", REPLIES)
def test_what_is_shown_is_never_taken_back(text: str) -> None:
    shown = ""
    for size in range(len(text) + 1):
        settled, over = reply_so_far(text[:size])
        assert settled.startswith(shown) or over
        assert cut_at_stop(text).startswith(settled)
        shown = settled


@pytest.mark.parametrize("stop", STOP_STRINGS)
def test_where_drawing_stops_the_reply_is_cut(stop: str) -> None:
    assert cut_at_stop(f"Yes.{stop}") == "Yes."
    assert reply_so_far(f"Yes.{stop}") == ("Yes.", True)
