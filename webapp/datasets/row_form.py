"""The form of one row's texts, with the checks that the import makes (`training.data.rows.to_row`).

Left out: turns of the prompt are edited, never added or removed; nor do responses and reference
answers come or go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms

from training.data.messages import UnusableRow
from training.data.reference import ROLE
from training.data.rows import Format, Row, to_row
from training.dialogue import Dialogue

MOST_MESSAGES, MOST_CHARACTERS = 100, 200_000  # what a form holds; longer rows are changed in a file
_SPEAKERS = {"user": "person", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class RowTexts:
    """The texts of a row as they are stored: no response is an empty text."""

    prompt: Dialogue
    chosen: str
    rejected: str
    undecided: bool = False
    reference: str = ""

    @property
    def is_too_long(self) -> bool:
        texts = [*(message["content"] for message in self.prompt), self.chosen, self.rejected, self.reference]
        return len(self.prompt) > MOST_MESSAGES or sum(map(len, texts)) > MOST_CHARACTERS


class RowForm(forms.Form):
    """A field for each message and response that the row has."""

    def __init__(self, texts: RowTexts, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.texts, self.row = texts, Row(texts.prompt)
        for place, message in enumerate(texts.prompt):
            label = f"Message {place + 1} ({_SPEAKERS.get(message['role'], message['role'])})"
            if len(texts.prompt) == 1:
                label = "Prompt"
            self._add(f"message_{place}", label, message["content"])
        if texts.rejected and texts.undecided:
            self._add("response_a", "Response A", texts.chosen)
            self._add("response_b", "Response B", texts.rejected)
        elif texts.rejected:
            self._add("chosen", "Chosen response", texts.chosen)
            self._add("rejected", "Rejected response", texts.rejected)
        elif texts.chosen:
            self._add("response", "Response", texts.chosen)
        if texts.reference:
            self._add(ROLE, "Reference answer", texts.reference)

    def _add(self, name: str, label: str, text: str) -> None:
        rows = min(16, max(2, text.count("\n") + len(text) // 100 + 1))
        self.fields[name] = forms.CharField(
            label=label, initial=text, strip=False, required=bool(text),
            widget=forms.Textarea(attrs={"rows": rows, "class": "row-text"}),
            error_messages={"required": f"“{label}” is empty. Give it a text, or exclude the row."})

    def clean(self) -> dict[str, Any]:
        """Texts as the import would store them; sets `row`."""
        cleaned: dict[str, Any] = super().clean() or {}
        for name in list(cleaned):
            cleaned[name] = self._stored(name, cleaned[name])
            if not cleaned[name] and self.fields[name].required:
                self.add_error(name, f"“{self.fields[name].label}” holds only spaces. Give it a text, or exclude the "
                                     "row.")
        if sum(map(len, cleaned.values())) > MOST_CHARACTERS:
            self.add_error(None, f"The texts have more than {MOST_CHARACTERS:,} characters together. Shorten them, or "
                                 "change the row in the JSONL download and import that.")
        if not self.errors:
            self._check(cleaned)
        return cleaned

    def _stored(self, name: str, text: str) -> str:
        """What was typed, without the browser's line endings; what was not changed stays as it is, to the letter."""
        original: str = self.fields[name].initial
        typed = text.replace("\r\n", "\n").replace("\r", "\n")
        unchanged = typed == original.replace("\r\n", "\n").replace("\r", "\n")
        return original if unchanged else typed.strip()

    def _check(self, cleaned: dict[str, Any]) -> None:
        record: dict[str, Any] = {"prompt": [
            {"role": message["role"], "content": cleaned[f"message_{place}"]}
            for place, message in enumerate(self.texts.prompt)]}
        named = {name: cleaned[name] for name in cleaned if not name.startswith("message_") and name != ROLE}
        # As messages: a response that looks like JSON is a text here, never a list of messages.
        record |= {name: [{"role": "assistant", "content": text}] for name, text in named.items()}
        record |= {ROLE: cleaned[ROLE]} if ROLE in cleaned else {}
        kind = "preference" if "rejected" in named else "dialogues" if named else "prompts"
        kind = "undecided" if "response_b" in named else kind
        try:
            self.row = to_row(record, Format(kind, {name: name for name in record}))
        except UnusableRow as reason:
            if named.get("chosen") == named.get("rejected") and "chosen" in named:
                beginning = named["rejected"][:60] + ("…" if len(named["rejected"]) > 60 else "")
                self.add_error("rejected", f"The rejected response “{beginning}” is the same as the chosen response. "
                                           "Change one of them, or exclude the row.")
            else:
                sentence = str(reason)[:1].upper() + str(reason)[1:]
                self.add_error(None, f"{sentence}. Correct it, or exclude the row.")
