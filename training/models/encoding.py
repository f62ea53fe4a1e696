"""From dialogues to token ids: one way for policies, preference models, judges and chats.

A model with a chat template reads what the template makes of the dialogue, one without the text of hh-rlhf. A template
that takes no system message gets it at the beginning of the first user turn. A dialogue that a template refuses even
then, or a text with a token that the model has no row for, is an error that names it.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from training.dialogue import Dialogue, generation_prompt
from training.errors import BadData, ModelUnavailable
from training.models.chat_templates import TemplateRefusal, TemplateRunaway, render


class _Model(NamedTuple):
    """The model that a tokenizer belongs to; `rows` is None if unknown."""

    name: str
    rows: int | None


_models: WeakKeyDictionary[Any, _Model] = WeakKeyDictionary()


class Rendered(NamedTuple):
    """What a template made of a dialogue, and the messages that it was given."""

    text: str
    messages: Dialogue


def belongs_to(tokenizer: Any, name: str, rows: int | None) -> None:
    """Record which model a tokenizer belongs to, and for how many tokens the model has rows."""
    _models[tokenizer] = _Model(name, rows)


def encode_prompt(tokenizer: Any, dialogue: Dialogue) -> list[int]:
    """Token ids after which the model writes its reply.

    Raises:
        BadData: the chat template refuses the dialogue, or it holds a token that the model does not have.
        ModelUnavailable: the chat template does not end.
    """
    if tokenizer.chat_template:
        ids = tokenizer(rendered(tokenizer, dialogue).text, add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(generation_prompt(dialogue))["input_ids"]
    return known_ids(tokenizer, ids)


def encode_reply(tokenizer: Any, text: str, leave_out_unknown: bool = False) -> list[int]:
    """Token ids of a reply as it stands after its prompt, with no end token.

    Args:
        leave_out_unknown: leave out tokens that the model has no row for.

    Raises:
        BadData: the reply holds such a token.
    """
    reply = text if tokenizer.chat_template else " " + text
    ids = list(tokenizer(reply, add_special_tokens=False)["input_ids"])
    if leave_out_unknown and (rows := _rows(tokenizer)) is not None:
        return [index for index in ids if index < rows]
    return known_ids(tokenizer, ids)


def rendered(tokenizer: Any, dialogue: Dialogue) -> Rendered:
    """What the model's chat template makes of a dialogue.

    Raises:
        BadData: it refuses the dialogue, with the system message in the first user turn too.
        ModelUnavailable: it does not end.
    """
    name = _name(tokenizer)
    try:
        try:
            return Rendered(render(tokenizer, dialogue), dialogue)
        except TemplateRefusal as refusal:
            merged = without_system(dialogue)
            if merged == dialogue:
                raise
            try:
                return Rendered(render(tokenizer, merged), merged)
            except TemplateRefusal:
                raise refusal from None
    except TemplateRefusal as refusal:
        turns = ", ".join(message["role"] for message in dialogue[:8]) + (", ..." if len(dialogue) > 8 else "")
        raise BadData(f"The chat template of '{name}' takes no dialogue of these turns ({turns}): "
                      f"{str(refusal)[:300].rstrip('.')}.", "Leave such rows out of the data, or choose another base.",
                      ) from refusal
    except TemplateRunaway as runaway:
        raise ModelUnavailable(f"The chat template of '{name}' {runaway}: it does not end.",
                               "Choose another base, or repair the 'chat_template' of this one.") from runaway


def without_system(dialogue: Dialogue) -> Dialogue:
    """The dialogue with its first system messages put before the first user turn; itself where that cannot be."""
    first = next((index for index, message in enumerate(dialogue) if message["role"] != "system"), len(dialogue))
    if not 0 < first < len(dialogue) or dialogue[first]["role"] != "user":
        return dialogue
    content = "\n\n".join(message["content"] for message in dialogue[: first + 1])
    return [{"role": "user", "content": content}, *dialogue[first + 1:]]


def known_ids(tokenizer: Any, ids: list[int]) -> list[int]:
    """The ids. Raises BadData where the model has no row for one of them."""
    rows = _rows(tokenizer)
    if rows is not None and ids and max(ids) >= rows:
        token = tokenizer.convert_ids_to_tokens(max(ids))
        raise BadData(f"A text holds the token '{token}', which the tokenizer of '{_name(tokenizer)}' knows and its "
                      "model does not.", f"Leave texts with '{token}' out of the data, or choose another base.")
    return list(ids)


def unknown_tokens(tokenizer: Any) -> list[str]:
    """The tokens of the tokenizer that its model has no row for, as they are written in a text."""
    rows = _rows(tokenizer)
    if rows is None:
        return []
    return [token for token, index in tokenizer.get_added_vocab().items() if index >= rows]


def _rows(tokenizer: Any) -> int | None:
    return _models[tokenizer].rows if tokenizer in _models else None


def _name(tokenizer: Any) -> str:
    return _models[tokenizer].name if tokenizer in _models else "the model"
