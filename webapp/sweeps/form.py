"""The form of a sweep: text fields for each way to vary, and the YAML of `over` that they stand for.

Typed text is never lost. Which of the two counts says `way`; "Edit as YAML" fills the YAML from the fields.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import yaml
from django.http import QueryDict

from training.config import Function, Recipe, read_yaml_text
from training.errors import BadSettings
from webapp.runs.form.recipe_fields import specs

FUNCTION_PATH = "scalarization.function"
FEWEST_ROWS, MOST_ROWS = 3, 20
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


@dataclass
class GridRow:
    """A field and its values, separated by commas."""

    path: str = ""
    values: str = ""
    error: str = ""


@dataclass
class DrawRow:
    """A field that random draws take from a range."""

    path: str = ""
    low: str = ""
    high: str = ""
    scale: str = "even"
    error: str = ""


@dataclass
class SweepForm:
    """What was typed, and after `over()` or `refuse()` the messages by field."""

    base: Recipe
    name: str = ""
    at_a_time: str = "1"
    way: str = "fields"
    yaml: str = ""
    grid: list[GridRow] = field(default_factory=list)
    simplex: list[str] = field(default_factory=list)
    parts: str = ""
    functions: list[str] = field(default_factory=list)
    draws: list[DrawRow] = field(default_factory=list)
    draw_count: str = ""
    draw_seed: str = "0"
    seeds: str = ""
    errors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.grid += [GridRow() for _ in range(FEWEST_ROWS - len(self.grid))]
        self.draws += [DrawRow() for _ in range(2 - len(self.draws))]

    @classmethod
    def from_post(cls, base: Recipe, post: QueryDict) -> SweepForm:
        def columns(*names: str) -> list[tuple[str, ...]]:
            return list(zip(*(post.getlist(name)[:MOST_ROWS] for name in names), strict=False))

        return cls(
            base, post.get("name", ""), post.get("at_a_time", "1"), "yaml" if post.get("way") == "yaml" else "fields",
            post.get("yaml", ""), [GridRow(*row) for row in columns("grid-path", "grid-values")],
            post.getlist("simplex"), post.get("parts", "").strip(), post.getlist("function"),
            [DrawRow(*row) for row in columns("draw-path", "draw-low", "draw-high", "draw-scale")],
            post.get("draw_count", "").strip(), post.get("draw_seed", "0").strip(), post.get("seeds", "").strip())

    # What the template shows ------------------------------------------------------------------------------------------

    @property
    def principles(self) -> list[str]:
        return [choice.name for choice in self.base.rewarded]

    @property
    def all_functions(self) -> list[str]:
        return list(get_args(Function))

    @property
    def paths(self) -> list[str]:
        """Suggestions for a field to vary."""
        weights = [f"principles.{choice.name}.weight" for choice in self.base.principles]
        leaves = [spec.path for spec in specs().values() if spec.kind != "section"]
        return [*weights, *(path for path in leaves if not path.startswith("data."))]

    @property
    def problems(self) -> list[tuple[str, str]]:
        """(field id, message) of every error."""
        return [(f"id_{name}", message) for name, message in self.errors.items()]

    def add_row(self) -> None:
        if len(self.grid) < MOST_ROWS:
            self.grid.append(GridRow())

    # What it says -----------------------------------------------------------------------------------------------------

    def over(self) -> dict[str, Any]:
        """The `over` of a sweep file. Empty if something typed cannot be read; then `errors` say what.

        Nothing but its form is checked here; `planning` checks what it means.
        """
        self.errors = {}
        if self.way == "yaml":
            return self._from_yaml()
        over: dict[str, Any] = {}
        if grid := self._grid():
            over["grid"] = grid
        if self.simplex or self.parts:
            over["simplex"] = {"principles": self.simplex, "parts": self._number("parts", self.parts)}
        if random := self._random():
            over["random"] = random
        if self.seeds:
            over["seeds"] = [self._number("seeds", text.strip()) for text in self.seeds.split(",") if text.strip()]
        if not over and not self.errors:
            self.errors["over"] = ("Nothing is varied yet. Give values of a field, weights on the simplex, functions, "
                                   "draws or repetitions.")
        return {} if self.errors else over

    def _from_yaml(self) -> dict[str, Any]:
        try:
            over = read_yaml_text(self.yaml)
        except BadSettings as problem:
            self.errors["yaml"] = str(problem)
            return {}
        if isinstance(over, dict) and set(over) == {"over"}:
            over = over["over"]
        if not isinstance(over, dict) or not over:
            self.errors["yaml"] = ("The YAML has no mapping such as 'grid: {ppo.steps: [20, 40]}'. Write one or more "
                                   "ways to vary.")
            return {}
        return over

    def _grid(self) -> dict[str, list[Any]]:
        grid: dict[str, list[Any]] = {}
        for place, row in enumerate(self.grid):
            path = row.path.strip()
            if not path and not row.values.strip():
                continue
            row.error = self._problem_of_row(row, grid)
            if row.error:
                self.errors[f"grid-{place}"] = row.error
            else:
                grid[path] = values_of(row.values)
        if self.functions:
            if FUNCTION_PATH in grid:
                self.errors["function"] = f"'{FUNCTION_PATH}' is varied in a row above too. Leave one of them out."
            grid[FUNCTION_PATH] = self.functions
        return grid

    def _problem_of_row(self, row: GridRow, grid: dict[str, list[Any]]) -> str:
        path = row.path.strip()
        if not path:
            return f"The values {row.values.strip()} have no field. Give a path such as ppo.kl.coefficient."
        if path in grid:
            return f"'{path}' is in two rows. Put all values into one."
        try:
            return "" if values_of(row.values) else f"'{path}' has no values. Give some, separated by commas."
        except BadSettings as problem:
            return f"'{path}' has the values {row.values.strip()}, which cannot be read: {problem.cause}"

    def _random(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for place, row in enumerate(self.draws):
            if not any((row.path.strip(), row.low.strip(), row.high.strip())):
                continue
            low, high = (_plain(text.strip()) for text in (row.low, row.high))
            if not row.path.strip() or isinstance(low, str) or isinstance(high, str):
                row.error = f"'{row.path.strip() or 'Field'}' needs a path and two numbers, from and to."
                self.errors[f"draw-{place}"] = row.error
                continue
            fields[row.path.strip()] = {"low": low, "high": high} | ({"log": True} if row.scale == "log" else {})
        if not fields and not self.draw_count:
            return {}
        return {"count": self._number("draw_count", self.draw_count), "seed": self._number("draw_seed", self.draw_seed),
                "fields": fields}

    def _number(self, name: str, text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) < 10:
            return int(text)
        label = {"parts": "Parts", "draw_count": "Draws", "draw_seed": "Seed", "seeds": "Repetitions"}[name]
        self.errors[name] = f"'{label}' is '{text[:40]}': give a whole number" + (
            ", or several separated by commas." if name == "seeds" else ".")
        return 0

    def at_a_time_number(self) -> int:
        text = self.at_a_time.strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0

    def fill_yaml(self) -> None:
        """Write the fields into the YAML, which counts from then on."""
        if over := self.over():
            self.yaml, self.way = yaml.safe_dump(over, sort_keys=False, default_flow_style=None, width=110), "yaml"

    def refuse(self, problem: BadSettings | Exception) -> None:
        """Show the message of a refusal at the field that it names."""
        text = str(problem).replace("Change 'over' in the sweep file, or its recipe.", "Change it here.")
        home = self._home(text.partition("cannot be run:")[2]) or self._home(text) or "over"
        self.errors[home] = text
        kind, _, place = home.partition("-")
        if place:
            rows: Sequence[GridRow | DrawRow] = self.grid if kind == "grid" else self.draws
            rows[int(place)].error = text

    def _home(self, text: str) -> str:
        """The field that a message names; "" if it names none."""
        if self.way == "yaml":
            return "yaml"
        for words, name in (("simplex", "simplex"), ("seeds", "seeds"), ("random.count", "draw_count"),
                            ("random.seed", "draw_seed"), ("'at_a_time'", "at_a_time"), ("'name' has", "name")):
            if words in text:
                return name
        for place, draw in enumerate(self.draws):
            if draw.path.strip() and draw.path.strip() in text:
                return f"draw-{place}"
        named = [(text.find(row.path.strip()), place) for place, row in enumerate(self.grid)
                 if row.path.strip() and row.path.strip() in text]
        for _, place in sorted(named):
            return f"grid-{place}"
        return "function" if self.functions and FUNCTION_PATH in text else ""


def values_of(text: str) -> list[Any]:
    """The values of a row. Raises BadSettings if they are no list of YAML."""
    value = read_yaml_text(f"[{text}]")
    if not isinstance(value, list):
        raise BadSettings("it is no list.", "Separate the values by commas.")
    return [_plain(item) if isinstance(item, str) else item for item in value if item is not None]


def _plain(text: str) -> Any:
    """A number from its text, `1e-5` too; other text as it is."""
    if re.fullmatch(r"[-+]?\d{1,15}", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+)", text) or _NUMBER.fullmatch(text):
        return float(text)
    return text
