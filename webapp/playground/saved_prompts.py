"""Prompts that a team keeps: listed, saved once, deleted."""

from __future__ import annotations

from training.text import storable
from webapp.playground.models import SavedPrompt

MOST_SAVED = 200  # of a team: what a list can hold
SHOWN = 80  # characters of a prompt in the list


def choices_of(team_id: int) -> list[tuple[str, str]]:
    """The beginning of each saved prompt on one line, and its key; the newest first."""
    rows = SavedPrompt.objects.filter(team_id=team_id)[:MOST_SAVED]
    return [(" ".join(row.text.split())[:SHOWN], str(row.pk)) for row in rows]


def text_of(team_id: int, pk: int | None) -> str:
    """A saved prompt of the team; empty if there is none of this key."""
    row = SavedPrompt.objects.filter(team_id=team_id, pk=pk or 0).first()
    return row.text if row else ""


def prompt_save(*, team_id: int, user_id: int, text: str) -> tuple[str, str] | None:
    """Save a prompt, unless the team has it already. Returns cause and remedy of a refusal."""
    stored_text = storable(text.strip())
    if not stored_text:
        return "There is no prompt to save.", "Write one into the box first."
    prompts = SavedPrompt.objects.filter(team_id=team_id)
    if prompts.filter(text=stored_text).exists():
        return None
    if prompts.count() >= MOST_SAVED:
        return f"The team has {MOST_SAVED} saved prompts, which is the limit.", "Delete one that nobody asks any more."
    SavedPrompt.objects.create(team_id=team_id, created_by_id=user_id, text=stored_text)
    return None


def prompt_delete(*, team_id: int, pk: int | None) -> bool:
    """Delete a saved prompt of the team. Returns whether there was one."""
    deleted, _ = SavedPrompt.objects.filter(team_id=team_id, pk=pk or 0).delete()
    return deleted > 0
