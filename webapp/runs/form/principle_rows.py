"""The rows of principles in the run form: the recipe's, then the team's others, each with its wording or measure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from training.config.principles import library
from training.config.recipe import PrincipleChoice
from webapp.accounts.models import Team
from webapp.principles.measures import in_words
from webapp.principles.models import Principle
from webapp.runs.form.recipe_fields import show


@dataclass
class PrincipleRow:
    """A principle of the team, or one that only this recipe has, with its weight."""

    name: str
    weight: str
    chosen: bool
    statement: str = ""
    principle: Principle | None = None
    wording: str = ""
    share: str = ""
    measure: str = ""  # the measure of a measured principle as JSON: the recipe's, else that of the team's version
    team_measure: dict[str, Any] | None = None
    serves: str = "labels"  # what the measure is for
    errors: list[str] = field(default_factory=list)

    def take_measure(self, choice: PrincipleChoice) -> None:
        """Show the measure of a recipe's principle, or none where the recipe has it judged."""
        self.measure, self.serves = choice.measure.model_dump_json() if choice.measure else "", choice.serves
        if choice.measure:
            self.statement = choice.statement

    def take_team_measure(self) -> None:
        """Measure as the team's principle does, where the recipe has it judged."""
        if self.team_measure:
            self.measure, self.statement = json.dumps(self.team_measure, ensure_ascii=False), ""

    @property
    def team_measured_as(self) -> str:
        return in_words(self.team_measure) if self.team_measure else ""

    @property
    def measured_as(self) -> str:
        """'words, lower is better'; "" where there is no measure, or none that can be read."""
        measure = measure_of(self.measure)
        return in_words(measure) if isinstance(measure, dict) else ""

    @property
    def wording_of_measure(self) -> str:
        """The statement of the team's version, where the measure is that of the team and its settings need words."""
        measure = measure_of(self.measure)
        if not isinstance(measure, dict) or not self.team_measure or measure != self.team_measure:
            return ""
        return self.wording if set(measure) - {"kind", "toward"} else ""


def rows_of(team: Team, choices: dict[str, tuple[str, float]]) -> list[PrincipleRow]:
    """The recipe's principles in their order, then the team's other principles."""
    principles = {principle.name: principle for principle in
                  Principle.objects.of(team).filter(archived=False).prefetch_related("versions")}
    rows = []
    for name in [*choices, *(name for name in principles if name not in choices)]:
        principle = principles.get(name)
        versions = principle.versions.all() if principle else []
        wording = versions[0].statement if versions else ""
        row = PrincipleRow(name, "1.0", name in choices, principle=principle, wording=wording)
        row.team_measure = (versions[0].settings or None) if versions else None
        row.take_team_measure()
        if name in choices:
            shipped = library()[name].statement if name in library() else ""
            statement = choices[name][0] or shipped
            row.statement = "" if statement == wording else statement
            row.weight = show(choices[name][1])
        rows.append(row)
    return rows


def measure_of(text: str) -> Any:
    """What a hidden field holds; text that is no JSON stays text, which the recipe refuses."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
