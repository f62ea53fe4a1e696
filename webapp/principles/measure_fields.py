"""The fields of measures in the form of a principle, made from the recipe's own types: a kind that is added there has
its fields here. One name per kind and setting, so that texts typed for one kind survive a look at another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin

from django import forms
from django.forms.boundfield import BoundField
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from training.config import field_errors
from training.config.measure import LONGEST_PATTERN, ComparingSettings, Measure, MeasureSettings
from training.measures import added_measures
from webapp.principles.measures import TITLES, kinds, own_fields, read_measure

LONGEST = {"pattern": LONGEST_PATTERN, "phrases": 25_000, "reference": 12_000}
"""Characters that a field reads; the recipe's own bounds are at most these."""
_ADDED = "added:"
_LONG = {"reference": 5, "phrases": 4}  # rows of the texts that have lines
_LABELS = {("distinct_ngrams", "n"): "Words per sequence", ("json", "top"): "What it must be",
           ("pattern", "whole"): "The whole response must match, not a part of it",
           ("pattern", "ignore_case"): "Capital and small letters are the same",
           ("pattern", "pattern"): "Regular expression", ("phrases", "phrases"): "Phrases, one per line",
           ("similarity", "reference"): "Text to compare with", ("similarity", "by"): "Compare by"}
_CHOICES = {("answer_from", "recipe"): "one answer, the same for every prompt",
            ("answer_from", "data"): "the reference answer of each prompt, from the dataset"}


class FieldGroup(NamedTuple):
    """The fields of one kind of measure, as the template shows them."""

    kind: str
    title: str
    fields: list[BoundField]


def measure_fields(chosen: str) -> dict[str, forms.Field]:
    """All fields of measures by name; `chosen` is the value of "kind" at first, offered even if it is not installed."""
    softness = MeasureSettings.model_fields["softness"]
    fields: dict[str, forms.Field] = {
        "kind": forms.ChoiceField(label="What it measures", required=False, initial=chosen, choices=_offered(chosen)),
        "toward": forms.ChoiceField(label="The better response has", required=False, initial="high",
                                    widget=forms.RadioSelect,
                                    choices=[("high", "the higher measure"), ("low", "the lower measure")]),
        "softness": forms.CharField(
            required=False, max_length=40, initial="0", help_text=softness.description or "",
            widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})),
    }
    for kind in kinds():
        if kind != "added":
            fields |= {f"{kind}__{name}": _field(kind, name, info) for name, info in own_fields(kind).items()}
    return fields


def field_groups(form: forms.Form) -> list[FieldGroup]:
    groups = [FieldGroup(kind, TITLES[kind][0], [form[f"{kind}__{name}"] for name in own_fields(kind)])
              for kind in kinds() if kind != "added"]
    return [group for group in groups if group.fields]


def initial_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the fields show for a stored measure; {} shows their defaults."""
    if not settings:
        return {}
    kind = str(settings.get("kind"))
    own = {f"{kind}__{name}": "\n".join(map(str, value)) if isinstance(value, list) else value
           for name, value in settings.items()}
    shared = {name: settings[name] for name in ("toward", "softness") if name in settings}
    return {"source": "measured", **own, **shared,
            "kind": f"{_ADDED}{settings.get('name')}" if kind == "added" else kind}


def read_fields(values: Mapping[str, Any]) -> tuple[Measure | None, list[tuple[str, str]]]:
    """The measure of a form's cleaned values, or (field, message) of each problem."""
    chosen = str(values["kind"] or "words")
    kind = "added" if chosen.startswith(_ADDED) else chosen
    settings: dict[str, Any] = {"kind": kind, "toward": values.get("toward") or "high"}
    if softness := str(values.get("softness", "")).strip():
        settings["softness"] = softness
    if kind == "added":
        settings["name"] = chosen.removeprefix(_ADDED)
    else:
        own = {name: _typed(name, values.get(f"{kind}__{name}")) for name in own_fields(kind)}
        settings |= {name: value for name, value in own.items() if value != ""}
    try:
        return read_measure(settings), []
    except ValidationError as error:
        return None, [_problem(kind, path, message) for path, message in field_errors(error)]


def _offered(chosen: str) -> list[Any]:
    ours = [(kind, f"{title[:1].upper()}{title[1:]}: {sentence}") for kind, (title, sentence) in TITLES.items()
            if kind != "added"]
    added = [(f"{_ADDED}{name}", f"{name}: of the package {point.dist.name if point.dist else point.module}")
             for name, point in added_measures().items()]
    if chosen.startswith(_ADDED) and chosen not in dict(added):
        added.append((chosen, f"{chosen.removeprefix(_ADDED)}: not installed on this machine"))
    return [*ours, ("Installed packages", added)] if added else list(ours)


def _field(kind: str, name: str, info: FieldInfo) -> forms.Field:
    """A field for a setting; the recipe's type checks the value, so that messages are the same everywhere."""
    label = _LABELS.get((kind, name), name.replace("_", " ").capitalize())
    help_text, default = info.description or "", None if info.is_required() else info.default
    if info.annotation is bool:
        return forms.BooleanField(label=label, required=False, initial=default)
    if get_origin(info.annotation) is Literal:
        choices = [(value, _CHOICES.get((name, value), value)) for value in get_args(info.annotation)]
        return forms.ChoiceField(label=label, required=False, initial=default, help_text=help_text, choices=choices)
    is_number = bool({info.annotation, *get_args(info.annotation)} & {int, float})
    widget: forms.Widget = forms.Textarea(attrs={"rows": _LONG[name]}) if name in _LONG else forms.TextInput(
        attrs={"autocomplete": "off", "spellcheck": "false"} | ({"inputmode": "decimal"} if is_number else {}))
    return forms.CharField(label=label, required=False, initial=default, help_text=help_text, strip=False,
                           max_length=LONGEST.get(name, 400), widget=widget)


def _typed(name: str, value: Any) -> Any:
    """A field's value as the setting's type reads it; "" is left out, so that the default or "is needed" applies."""
    if isinstance(value, str):
        value = value.replace("\r\n", "\n")
        if name == "phrases":
            return [line.strip() for line in value.split("\n") if line.strip()]
        return value if value.strip() else ""
    return "" if value is None else value


def _problem(kind: str, path: str, message: str) -> tuple[str, str]:
    """(form field, sentence) of a setting; a path begins with the tag of its kind."""
    settings = kinds()[kind]
    if path == kind and issubclass(settings, ComparingSettings):  # what is wrong is the answer, given or not
        path = settings.answer_setting
    parts = path.removeprefix(f"{kind}.").split(".")
    name = parts[0]
    field = name if name in {"toward", "softness"} else f"{kind}__{name}"
    if kind == "added" or name not in {*own_fields(kind), "toward", "softness"}:
        field = "kind"
    is_line = len(parts) > 1 and parts[1].isdigit()
    return field, f"{f'Line {int(parts[1]) + 1}' if is_line else 'This field'} {message}"
