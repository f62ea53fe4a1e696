"""The run form: converts a recipe to text fields and back. Typed text is never lost, even if it is not valid.

The recipe's own types validate everything. The web adds two rules: data comes from the demo world or the team's
datasets, and models come from the demo world, the hub or the server's folder of models. A recipe that names a dataset
of the hub keeps that name, and is refused until the dataset is imported.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.http import QueryDict
from django.utils.text import slugify
from pydantic import ValidationError

from training.config import DEMO_WORLD, EVERYDAY_PROMPTS, Recipe, field_errors, read_yaml_text
from training.config.hub_names import is_hub_id
from training.config.judge import address_problem
from training.config.principles import library
from training.errors import BadSettings, TrainingError
from training.run.checks import bases_of, check_base
from webapp.accounts.models import Team
from webapp.accounts.numbers import row_key
from webapp.datasets.models import Dataset
from webapp.judges.keys import check_key_host, saved_key
from webapp.judges.models import Connection
from webapp.judges.selectors import saved_judge, saved_judge_of
from webapp.labels.rating_uses import aspects_in_recipe
from webapp.runs.form.principle_rows import PrincipleRow, measure_of, rows_of
from webapp.runs.form.recipe_fields import OFF, SECTIONS, FormSection, Spec, folded, show, specs
from webapp.runs.model_home import models_home

DATASET_PATH = re.compile(r"^datasets/(\d+)-[^/]*\.jsonl$")
# Where a message about a whole section belongs.
HOMES = (("rule judge", "judge.kind"), ("pairs 'sampled'", "sample.pairs"), ("OPENAI_API_KEY", "judge.api_key_env"),
         ("model's name", "judge.model"), ("'policy.lora'", "policy.lora"), ("budget in money", "judge.budget_money"))


@dataclass
class Entry:
    """One setting with its typed text and its error messages."""

    spec: Spec
    text: str
    errors: list[str] = field(default_factory=list)

    @property
    def is_checked(self) -> bool:
        return self.text == "true"

    @property
    def is_left_out(self) -> bool:
        """Whether this is a section that the recipe sets to null."""
        return self.spec.kind == "section" and self.text == OFF


class RecipeForm:
    """Text fields by dotted path, rows of principles and, after validation, the recipe or the errors."""

    def __init__(self, team: Team, texts: dict[str, str], rows: list[PrincipleRow], source: str, name: str) -> None:
        self.team = team
        self.name = name
        self.source = source  # "demo-world", "everyday-prompts", "dataset:ID" or "hub"
        self.hub_id = texts.get("data.source", "")
        self.entries = {path: Entry(spec, texts.get(path, show(spec.default))) for path, spec in specs().items()}
        self.rows = rows
        self.errors: dict[str, list[str]] = {}
        self.recipe: Recipe | None = None
        self.dataset: Dataset | None = None
        self.saved_judge: Connection | None = None
        self._share()

    # Where a form comes from ------------------------------------------------------------------------------------------

    @classmethod
    def from_recipe(cls, team: Team, recipe: Recipe) -> RecipeForm:
        values = recipe.model_dump(mode="json")
        texts = {path: _text(values, spec) for path, spec in specs().items()}
        choices = {choice.name: (choice.statement, choice.weight) for choice in recipe.principles}
        rows = rows_of(team, choices)
        chosen = {choice.name: choice for choice in recipe.principles}
        for row in rows:
            if choice := chosen.get(row.name):
                row.take_measure(choice)
        source, texts["data.source"] = _source_of(recipe.data.source)
        form = cls(team, texts, rows, source, recipe.name)
        form.use_judge(saved_judge_of(team, recipe.judge))
        return form

    @classmethod
    def from_post(cls, team: Team, post: QueryDict) -> RecipeForm:
        texts = {path: post.get(path, "false" if spec.kind == "bool" else "") for path, spec in specs().items()}
        texts["data.source"] = post.get("data.source", "")
        chosen = set(post.getlist("principle"))
        rows_by_name = {row.name: row for row in rows_of(team, {})}
        rows = []
        for name in dict.fromkeys(post.getlist("row")):
            row = rows_by_name.pop(name, None) or PrincipleRow(name, "1.0", False)
            row.weight = post.get(f"weight:{name}", row.weight)
            row.statement = post.get(f"statement:{name}", "").strip()
            row.measure, row.serves = post.get(f"measure:{name}", ""), post.get(f"serves:{name}", "labels")
            row.chosen = name in chosen
            if name in post.getlist("measured"):
                row.take_team_measure()
            rows.append(row)
        form = cls(team, texts, [*rows, *rows_by_name.values()], post.get("source", DEMO_WORLD), post.get("name", ""))
        form.use_judge(saved_judge(team, post.get("saved_judge", "")))
        return form

    def use_judge(self, connection: Connection | None) -> None:
        """Fill the judge's address, rate and price fields from a saved judge."""
        self.saved_judge = connection
        for name, value in (connection.recipe_fields() if connection else {}).items():
            self.entries[f"judge.{name}"].text = show(value)

    @cached_property
    def saved_judges(self) -> list[Connection]:
        return list(Connection.objects.of(self.team))

    # What the template shows ------------------------------------------------------------------------------------------

    serves = (("labels", "labels for a preference model"), ("reward", "the reward itself"),
              ("gauge", "a gauge, never rewarded"))

    @property
    def sections(self) -> list[dict[str, Any]]:
        return [self._section(section) for section in SECTIONS]

    def _section(self, section: FormSection) -> dict[str, Any]:
        groups = [(title, [self.entries[spec.path] for spec in group]) for title, group in folded(section).items()]
        hidden = [entry for _, entries in groups for entry in entries]
        return {"key": section.key, "title": section.title, "intro": section.intro, "groups": groups,
                "essentials": [self.entries[path] for path in section.essentials],
                "hidden": len(hidden), "has_hidden_error": any(entry.errors for entry in hidden)}

    @cached_property
    def datasets(self) -> list[tuple[str, Dataset]]:
        """(value, dataset) of what can be chosen, newest first."""
        ready = Dataset.objects.of(self.team).filter(status=Dataset.Status.READY)
        columns = ("id", "name", "version", "kind", "rows_good")
        return [(f"dataset:{dataset.pk}", dataset) for dataset in ready.only(*columns)]

    @property
    def lost_dataset(self) -> bool:
        return self.source.startswith("dataset:") and self.source not in dict(self.datasets)

    @property
    def source_errors(self) -> list[str]:
        return self.errors.get("data.source", [])

    @property
    def messages_by_field(self) -> dict[str, str]:
        """Messages by the id of their field, for the script that shows them during typing."""
        return {_anchor(path): " ".join(messages) for path, messages in self.errors.items()}

    @property
    def problems(self) -> list[tuple[str, str, str]]:
        """(field id, label, message) of every error, in the order of the page."""
        problems = []
        for path, messages in self.errors.items():
            problems += [(_anchor(path), self._label(path), message) for message in messages]
        return problems

    def _label(self, path: str) -> str:
        if path in self.entries:
            return self.entries[path].spec.label
        return {"name": "Name", "data.source": "Source", "principles": "Principles", "recipe": "Recipe"}.get(
            path, path.removeprefix("weight:"))

    # The check --------------------------------------------------------------------------------------------------------

    def is_valid(self) -> bool:
        """Validate all fields; this sets `recipe` and `dataset`, or `errors`."""
        self.errors = {}
        try:
            value = self._value()
            self.recipe = Recipe.model_validate(value)
        except ValidationError as error:
            for path, message in field_errors(error):
                self._add(self._home(path, message), message)
        else:
            self._check_sources(self.recipe)
        if self.errors:
            self.recipe = None
        self._hand_out()
        return not self.errors

    def refuse(self, message: str) -> None:
        """Add an error about a valid recipe whose data or models do not fit. A message that begins with the name of a
        setting is shown at that setting."""
        named = message.split("'")[1] if message.startswith("'") else ""
        self._add(named if named in self.entries or named == "principles" else "data.source", message)
        self.recipe = None
        self._hand_out()

    def _value(self) -> dict[str, Any]:
        """The nested value for Recipe; text that is not a mapping of columns is an error here."""
        value: dict[str, Any] = {"name": self.name.strip(), "principles": [
            {"name": row.name, "weight": row.weight.strip(), "statement": self._statement(row),
             **({"measure": measure_of(row.measure), "serves": row.serves} if row.measure else {})}
            for row in self.rows if row.chosen]}
        left_out = [f"{path}." for path, entry in self.entries.items() if entry.is_left_out]
        for path, entry in self.entries.items():
            if path.startswith(tuple(left_out)):
                continue
            if entry.spec.kind == "section":
                if entry.is_left_out:
                    _put(value, path, None)
                continue
            text: Any = entry.text if entry.spec.kind == "text" else entry.text.strip()
            _put(value, path, _columns(text) if entry.spec.kind == "columns" else text)
        _put(value, "data.source", self._source())
        from_judge = value.get("preference_model", {}).get("labels_from", "ai") == "ai"
        if self.dataset is not None and not from_judge and not value.get("data", {}).get("ratings"):
            _put(value, "data.ratings", aspects_in_recipe(self.dataset))
        return value

    def _statement(self, row: PrincipleRow) -> str:
        """The typed wording, else the team's wording if it differs from the library's."""
        if row.measure:
            return row.statement or row.wording_of_measure
        shipped = library().get(row.name)
        statement = row.statement or row.wording
        return "" if shipped is not None and statement == shipped.statement else statement

    def _source(self) -> str:
        if self.source.startswith("dataset:"):
            number = self.source.removeprefix("dataset:")
            ready = Dataset.objects.of(self.team).filter(status=Dataset.Status.READY)
            self.dataset = ready.filter(pk=row_key(number)).first()
            return f"datasets/{number}-{slugify(self.dataset.name)[:60] or 'data'}.jsonl" if self.dataset else number
        self.dataset = None
        if self.source == "hub":
            return self.hub_id.strip()
        return EVERYDAY_PROMPTS if self.source == EVERYDAY_PROMPTS else DEMO_WORLD

    def _check_sources(self, recipe: Recipe) -> None:
        if self.source.startswith("dataset:") and self.dataset is None:
            self._add("data.source", "This dataset no longer exists or is not ready. Choose another one.")
        if self.source == "hub" and not is_hub_id(recipe.data.source):
            self._add("data.source", f"'{recipe.data.source}' is not a dataset of your team. Import it under "
                                     "Datasets, then choose it here.")
        if address_error := address_problem(recipe.judge):
            self._add("judge.base_url", address_error)
        else:
            try:
                saved_key(team=self.team, judge=recipe.judge)
                check_key_host(recipe.judge)
            except TrainingError as problem:
                self._add("judge.api_key_env", str(problem))
        for path, base in bases_of(recipe).items():
            try:
                check_base(path, base, models_home())
            except TrainingError as problem:
                self._add(path, str(problem))

    def _home(self, path: str, message: str) -> str:
        """The field at which a message is shown."""
        parts = path.split(".")
        if parts[0] == "principles" and len(parts) > 1:
            return f"weight:{[row.name for row in self.rows if row.chosen][int(parts[1])]}"
        if path in self.entries or path in {"name", "data.source", "principles"}:
            return path
        if path.startswith("data.columns"):
            return "data.columns"
        return next((home for words, home in HOMES if words in message), path)

    def _add(self, path: str, message: str) -> None:
        self.errors.setdefault(path, []).append(message[0].upper() + message[1:])

    def _hand_out(self) -> None:
        for path, entry in self.entries.items():
            entry.errors = self.errors.get(path, [])
        for row in self.rows:
            row.errors = self.errors.get(f"weight:{row.name}", [])

    def _share(self) -> None:
        weights = {row.name: _number(row.weight) for row in self.rows if row.chosen and row.serves != "gauge"}
        total = math.fsum(abs(weight) for weight in weights.values())
        for row in self.rows:
            weight = weights.get(row.name, 0.0)
            row.share = f"{'−' if weight < 0 else ''}{abs(weight) / total:.0%}" if total and row.name in weights else ""


def read_yaml(team: Team, text: str) -> tuple[RecipeForm | None, str]:
    """A form from pasted YAML, or an error message. Errors in single settings are shown at their fields."""
    try:
        recipe = Recipe.model_validate(read_yaml_text(text))
    except BadSettings as error:
        return None, str(error)
    except ValidationError as error:
        return None, "; ".join(f"{path}: {message}" for path, message in field_errors(error))
    return RecipeForm.from_recipe(team, recipe), ""


def _source_of(source: str) -> tuple[str, str]:
    """(choice, hub id) for a recipe's source."""
    if source in {DEMO_WORLD, EVERYDAY_PROMPTS}:
        return source, ""
    if match := DATASET_PATH.match(source):
        return f"dataset:{match[1]}", ""
    return "hub", source


def _columns(text: str) -> Any:
    """{'prompt': 'question'} from 'prompt: question, chosen: answer'."""
    if not text:
        return {}
    pairs = [part.split(":", 1) for part in text.split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        return text  # refused by the recipe, with its message at the field
    return {key.strip(): name.strip() for key, name in pairs}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _anchor(path: str) -> str:
    return "id_" + path.replace(":", "_")


def _text(recipe: Any, spec: Spec) -> str:
    """The text of a setting's field; settings of a section that is null show their defaults."""
    value = recipe
    for part in spec.path.split("."):
        if value is None:
            return show(spec.default)
        if part not in value:  # left out of what is stored where it is at its default
            return show(spec.default)
        value = value[part]
    if spec.kind == "section":
        return OFF if value is None else "on"
    return show(value)


def _put(value: dict[str, Any], path: str, leaf: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        value = value.setdefault(part, {})
    value[last] = leaf
