"""The exact question that a judge would get about a pair, and the cost of asking it about many pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms

from training import config
from training.config import shipped_recipe
from training.judges.estimate import Estimate
from training.judges.prompt import prompt_version, question_of
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset
from webapp.judges.estimating import CHARS_PER_TOKEN, question_costs
from webapp.judges.models import Connection
from webapp.judges.trial import example
from webapp.labels.models import Pair
from webapp.principles.models import Principle, PrincipleVersion

DEMO = "demo-world"
DEFAULTS = {"pair": DEMO, "dataset": DEMO, "layout": "paper", "few_shot": "0", "pairs": "1000"}
OFFERED = 30  # newest pairs
LAYOUTS = [("paper", "as in the paper, principle first"),
           ("shared_prefix", "principle last, for servers that cache prefixes")]


class QuestionForm(forms.Form):
    """How the question is worded, what it is about, and how often it will be asked. Read from the address."""

    principle = forms.ChoiceField()
    pair = forms.ChoiceField()
    layout = forms.ChoiceField(choices=LAYOUTS)
    few_shot = forms.IntegerField(label="Examples before the question", min_value=0, max_value=4)
    reasoning = forms.BooleanField(label="Let the judge think before it answers", required=False)
    dataset = forms.ChoiceField(label="Estimate the cost on")
    pairs = forms.IntegerField(label="Pairs", min_value=1, max_value=1_000_000)

    def __init__(self, data: Any, *, team: Team) -> None:
        names = list(Principle.objects.of(team).filter(archived=False).values_list("pk", "name"))
        super().__init__({"principle": names[0][0] if names else "", **DEFAULTS, **data.dict()})
        self._team = team
        pairs = [(str(pk), text[:60]) for pk, text in Pair.objects.of(team).values_list("pk", "excerpt")[:OFFERED]]
        ready = Dataset.objects.of(team).filter(status=Dataset.Status.READY)
        columns = ("pk", "name", "version", "kind", "rows_good")
        self._datasets = {str(dataset.pk): dataset for dataset in ready.only(*columns)}
        self._offer("principle", [(str(pk), name) for pk, name in names])
        self._offer("pair", [(DEMO, "the demo world’s example"), *pairs])
        names_of_datasets = ((pk, dataset.title) for pk, dataset in self._datasets.items())
        self._offer("dataset", [(DEMO, "the demo world"), *names_of_datasets])

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    @property
    def dataset_chosen(self) -> Dataset | None:
        return self._datasets.get(self.cleaned_data.get("dataset", ""))


@dataclass(frozen=True)
class Question:
    """A question in both orders, and the cost of asking it of many pairs."""

    version: str
    shown: str
    swapped: str
    principle: Principle
    pairs: int
    estimate: Estimate
    priced: bool

    @property
    def tokens(self) -> int:
        return round(len(self.shown) / CHARS_PER_TOKEN)


def question_for(*, team: Team, connection: Connection, form: QuestionForm) -> Question | None:
    """The question that the form describes; None if the form is not valid or the judge does not read questions."""
    if not form.is_valid() or connection.kind == Connection.Kind.RULE:
        return None
    values = form.cleaned_data
    worded = {name: values[name] for name in ("layout", "few_shot")}
    worded["reasoning"] = values["reasoning"] or connection.reasoning
    judge = config.JudgeSettings.model_validate(connection.recipe_fields() | worded)
    version = PrincipleVersion.objects.filter(principle__team=team, principle=values["principle"]).select_related(
        "principle").order_by("-number").first()
    if version is None:
        return None
    prompt, a, b = _pair(team, values["pair"])
    dataset, pairs = form.dataset_chosen, values["pairs"]
    recipe = shipped_recipe("demo").model_copy(update={"judge": judge})
    if dataset is not None and dataset.has_pairs:
        recipe = recipe.model_copy(update={"sample": recipe.sample.model_copy(update={"pairs": "dataset"})})
    estimate = question_costs(recipe=recipe, dataset=dataset, calls=2 * pairs, wording=version.statement)
    return Question(prompt_version(judge), question_of(judge, prompt, a, b, version.statement),
                    question_of(judge, prompt, b, a, version.statement), version.principle, pairs, estimate,
                    connection.price is not None)


def _pair(team: Team, number: str) -> tuple[Any, str, str]:
    stored = Pair.objects.of(team).filter(pk=number).select_related("text").first() if number != DEMO else None
    if stored is None:
        shown = example()
        return [{"role": "user", "content": shown["prompt"]}], shown["a"], shown["b"]
    return stored.text.prompt, stored.text.response_a, stored.text.response_b
