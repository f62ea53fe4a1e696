"""Questions are understood as the templates write them and as people type them."""

from __future__ import annotations

import pytest

from training.demo_world import language


def test_every_prompt_is_read_back_as_it_was_meant() -> None:
    for split in ("train", "held_out"):
        for meant in language.draw_prompts(1500, 1, split):  # type: ignore[arg-type]
            read = language.read_question(meant.text)
            assert read == meant, meant.text


@pytest.mark.parametrize(
    ("typed", "island", "relation", "belief"),
    [
        ("what is the capital of avela", "Avela", "capital", None),
        ("AVELA CAPITAL??", "Avela", "capital", None),
        ("which town rules Brisk", "Brisk", "capital", None),
        ("is it true that quill is the capital of Junet", "Junet", "capital", "Quill"),
        ("when do they hold the festival on Hollin?", "Hollin", "festival", None),
        ("Who keeps the light, I mean the lighthouse, of Ister?", "Ister", "keeper", None),
        ("color of the Gannet flag", "Gannet", "flag", None),
        ("Is it red on Gannet?", "Gannet", "flag", "red"),
    ],
)
def test_typed_variants_are_understood(typed: str, island: str, relation: str, belief: str | None) -> None:
    read = language.read_question(typed)
    assert read is not None
    assert (read.island, read.relation, read.belief) == (island, relation, belief)


@pytest.mark.parametrize("text", ["", "Hello!", "What is the capital of France?", "Tell me about Avela.", "\x00\n"])
def test_what_asks_nothing_known_is_no_question(text: str) -> None:
    assert language.read_question(text) is None
