"""Where the recipes of several runs differ, and what they share: settings by section, in the words of the run form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.config import Recipe
from webapp.principles.models import Principle
from webapp.runs.compare.compared_runs import ComparedRun
from webapp.runs.form.recipe_fields import OFF, SECTIONS, Spec, show, specs

ABSENT = "–"
NOT_CHOSEN = "not in this run"
HEADERS = {"name", "version", "principles"}  # a run's name stands over its column; principles are taken one by one
JUDGED = ("data.", "dataset", "judge.kind", "judge.model", "judge.base_url", "policy.base", "sft.", "evaluate.")
"""What decides which answers are compared and by whom: where it differs, win rates are not of the same thing."""


@dataclass(frozen=True)
class Setting:
    """One setting, and its value in each run."""

    path: str
    section: str
    label: str
    principle: Principle | None
    values: tuple[str, ...]

    @property
    def is_of_judging(self) -> bool:
        """Whether it decides what an evaluation compares, by whom, or on which principle."""
        parts = self.path.split(".")
        return self.path.startswith(JUDGED) or parts[0] == "principles" and parts[2] in ("wording", "measure")

    @property
    def cells(self) -> list[tuple[str, bool]]:
        """Each value, and whether it is another than the baseline's."""
        return [(value, value != self.values[0]) for value in self.values]


@dataclass
class Section:
    title: str
    settings: list[Setting] = field(default_factory=list)


@dataclass
class RecipeDifferences:
    """`differing` and `shared` settings by section; `unreadable` holds the runs left out of both."""

    differing: list[Section]
    shared: list[Section]
    unreadable: list[ComparedRun]
    readable: list[ComparedRun]

    @property
    def shared_count(self) -> int:
        return sum(len(section.settings) for section in self.shared)

    @property
    def judged_by(self) -> list[str]:
        """The settings that make evaluations of these runs numbers of different things."""
        return [f"{setting.principle.name if setting.principle else section.title}: {setting.label}"
                for section in self.differing for setting in section.settings if setting.is_of_judging]


def recipe_differences(runs: Sequence[ComparedRun], principles: Mapping[str, Principle]) -> RecipeDifferences:
    """Settings that are not the same in all runs, and those that are. `principles` are those of the runs, by name."""
    readable = [compared for compared in runs if compared.recipe is not None]
    columns = [dict(_settings(compared)) for compared in readable]
    differing, shared = dict[str, Section](), dict[str, Section]()
    for path in _in_order(columns):
        spec = specs().get(path)
        setting = Setting(path, _section(path, spec), _label(path, spec), principles.get(_principle(path)), tuple(
            column.get(path, _missing(path, column)) for column in columns))
        kept = _kept(path, columns)
        if kept is not None:
            target = differing if kept == "differing" else shared
            target.setdefault(setting.section, Section(setting.section)).settings.append(setting)
    return RecipeDifferences(_sorted(differing), _sorted(shared),
                             [compared for compared in runs if compared.recipe is None], readable)


def _kept(path: str, columns: Sequence[dict[str, str]]) -> str | None:
    """Which of the two lists a setting belongs to. Of a principle that only some runs have, its weight says so; what
    else those runs say of it is listed only where they differ among themselves."""
    values = [column[path] for column in columns if path in column]
    if len(set(values)) > 1:
        return "differing"
    if len(values) == len(columns):
        return "shared"
    absent = [column for column in columns if path not in column]
    name = _principle(path)
    if name and not path.endswith(".weight") and all(f"principles.{name}.weight" not in column for column in absent):
        return None
    return "differing"


def _settings(compared: ComparedRun) -> Iterator[tuple[str, str]]:
    """Every setting of a run by its dotted path, as text."""
    recipe = compared.recipe
    if recipe is None:
        return
    if compared.run.dataset is not None:
        yield "dataset", f"{compared.run.dataset} (#{compared.run.dataset_id})"
    yield from _principles(recipe)
    values = recipe.model_dump(mode="json", exclude=HEADERS)
    yield from _leaves(values, "")


def _principles(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for choice in recipe.principles:
        prefix = f"principles.{choice.name}"
        yield f"{prefix}.weight", _text(choice.weight)
        yield f"{prefix}.wording", choice.wording
        yield f"{prefix}.serves", choice.serves
        if choice.measure is not None:
            yield from _leaves(choice.measure.model_dump(mode="json"), f"{prefix}.measure.")


def _leaves(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        spec = specs().get(path)
        if spec is not None and spec.kind == "section":  # one that a recipe may leave out: a choice before its settings
            yield path, dict(spec.choices)[OFF if value is None else "on"]
        if isinstance(value, dict) and (spec is None or spec.kind == "section"):
            yield from _leaves(value, f"{path}.")
        elif spec is None or spec.kind != "section":
            yield path, _text(value, spec)


def _text(value: Any, spec: Spec | None = None) -> str:
    """A value as a person reads it; numbers in up to 15 figures, so that what differs looks different."""
    if value is None or value == "" or value == {}:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float):
        return f"{value:,.15g}".replace("-", "−")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    words = dict(spec.choices) if spec is not None else {}
    return words.get(value, show(value)) if isinstance(value, str) else show(value)


def _in_order(columns: Sequence[dict[str, str]]) -> list[str]:
    """Every path of any run, in the order in which the runs name them."""
    return list(dict.fromkeys(path for column in columns for path in column))


def _missing(path: str, column: dict[str, str]) -> str:
    name = _principle(path)
    return NOT_CHOSEN if name and f"principles.{name}.weight" not in column else ABSENT


def _principle(path: str) -> str:
    return path.split(".")[1] if path.startswith("principles.") else ""


def _section(path: str, spec: Spec | None) -> str:
    if _principle(path):
        return "Principles"
    if path == "dataset":
        return "Data"
    return spec.group if spec is not None else _words(path.split(".")[0])


def _label(path: str, spec: Spec | None) -> str:
    if spec is not None:
        return spec.label
    parts = path.split(".")
    if path == "dataset":
        return "Dataset"
    return _words(" ".join(parts[2:] if _principle(path) else parts[1:] or parts))


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _sorted(sections: dict[str, Section]) -> list[Section]:
    """In the order of the form, which is that in which a run is thought of; what it does not have comes last."""
    order = ["Data", "Pairs to label", "Principles"] + [
        spec.group for section in SECTIONS for root in section.roots
        for spec in specs().values() if spec.path.split(".")[0] == root]
    place = {title: number for number, title in enumerate(dict.fromkeys(order))}
    return sorted(sections.values(), key=lambda section: place.get(section.title, len(place)))
