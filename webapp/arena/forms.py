"""The forms of an arena: its answers from a file, and how pairs are chosen."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat

from training.dialogue import Dialogue
from training.errors import BadData
from webapp.accounts.models import Team
from webapp.arena.answer_files import GivenAnswer, checked, read_answers
from webapp.arena.answering import prompts_of
from webapp.arena.models import Arena
from webapp.arena.services import PairSettings
from webapp.datasets.models import Dataset
from webapp.playground.selectors import PolicyChoice, policies_of
from webapp.principles.models import Principle
from webapp.runs.models import Run

MOST_PROMPTS = 2000
MOST_ANSWERING = 12  # policies that a job loads one after another
LARGEST_FILE = 100 * 1024 * 1024


class PairsForm(forms.Form):
    """What every arena has: a name, and how its pairs are chosen and shown."""

    name = forms.CharField(max_length=200)
    choice = forms.ChoiceField(label="Choose pairs", choices=Arena.Choice.choices, initial=Arena.Choice.ACTIVE,
                               help_text="“Where a vote tells most” compares the policies whose order is least "
                                         "certain.")
    overlap_every = forms.IntegerField(label="Repeat every … pairs", min_value=0, max_value=1000, initial=5,
                                       help_text="Every so many pairs, one is shown to several people, so that their "
                                                 "agreement is known. 0: never.")
    overlap_people = forms.IntegerField(label="… to how many people", min_value=2, max_value=50, initial=2)
    principles = forms.ModelMultipleChoiceField(Principle.objects.none(), required=False,
                                                widget=forms.CheckboxSelectMultiple,
                                                help_text="Offered below the vote: which answer serves each better.")

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["principles"].queryset = (  # type: ignore[attr-defined]
            Principle.objects.of(team).filter(archived=False))

    @property
    def pairs(self) -> PairSettings:
        values = self.cleaned_data
        return PairSettings(values["choice"], values["overlap_every"], values["overlap_people"],
                            list(values["principles"]))


class ImportForm(PairsForm):
    """An arena of answers that are in a file."""

    file = forms.FileField(label="Answers", help_text="JSONL or CSV with a row per answer: <code>prompt</code>, "
                                                      "<code>policy</code>, <code>answer</code>, and optionally "
                                                      "<code>reward</code> and <code>scores</code>.")
    field_order = ["name", "file"]

    answers: list[GivenAnswer]

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        limit = min(LARGEST_FILE, settings.UPLOAD_LIMIT_BYTES)
        if (file.size or 0) > limit:
            raise forms.ValidationError(
                f"The file has {filesizeformat(file.size or 0)}; the limit is {filesizeformat(limit)}. Split it over "
                "several arenas.")
        try:
            self.answers = checked(read_answers(file.file, str(file.name)))  # type: ignore[arg-type]
        except BadData as problem:
            raise forms.ValidationError(f"{problem.cause} {problem.remedy}") from problem
        return file


class NewArenaForm(PairsForm):
    """An arena whose policies answer prompts: which, on what, and how they are sampled."""

    policies_chosen = forms.MultipleChoiceField(label="Policies", widget=forms.CheckboxSelectMultiple,
                                                help_text="Two to twelve: policies of your runs, kept checkpoints and "
                                                          "bases.")
    dataset = forms.ModelChoiceField(Dataset.objects.none(), required=False, label="Prompts of a dataset",
                                     empty_label="none: the lines below")
    count = forms.IntegerField(label="Number of prompts", min_value=1, max_value=MOST_PROMPTS, initial=100)
    order = forms.ChoiceField(label="Which", choices=[("first", "the first"), ("random", "at random")])
    seed = forms.IntegerField(min_value=0, max_value=2**31 - 1, initial=0,
                              help_text="Of the prompts at random, and of sampling.")
    lines = forms.CharField(label="Prompts, one per line", required=False, max_length=200_000,
                            widget=forms.Textarea(attrs={"rows": 5}))
    temperature = forms.FloatField(min_value=0.05, max_value=2.0, initial=0.7)
    max_new_tokens = forms.IntegerField(label="Tokens per answer", min_value=1, max_value=4096, initial=256)
    scorer = forms.ModelChoiceField(Run.objects.none(), required=False, label="Score the answers by",
                                    empty_label="no preference models",
                                    help_text="The run whose preference models score the answers, to compare them "
                                              "with people.")
    field_order = ["name"]

    policies: list[PolicyChoice]
    prompts: list[Dialogue]

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, team=team, **kwargs)
        known = policies_of(team.pk)
        self._choices = {choice.key: choice for choice in known.choices}
        self.fields["policies_chosen"].choices = [  # type: ignore[attr-defined]
            (key, choice.title) for key, choice in self._choices.items()]
        self.fields["dataset"].queryset = (  # type: ignore[attr-defined]
            Dataset.objects.of(team).filter(status=Dataset.Status.READY, rows_good__gt=0))
        self.fields["scorer"].queryset = (  # type: ignore[attr-defined]
            Run.objects.of(team).filter(pk__in=[run.run for run in known.runs]))

    def clean_policies_chosen(self) -> list[str]:
        keys: list[str] = self.cleaned_data["policies_chosen"]
        if not 2 <= len(keys) <= MOST_ANSWERING:
            raise forms.ValidationError(f"{len(keys)} chosen: choose 2 to {MOST_ANSWERING} policies.")
        self.policies = [self._choices[key] for key in keys]
        return keys

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        dataset: Any = values.get("dataset")
        pasted: list[Dialogue] = [[{"role": "user", "content": line.strip()}]
                                  for line in values.get("lines", "").splitlines() if line.strip()]
        if dataset and pasted:
            self.add_error("lines", "Choose a dataset or give prompts here, not both.")
        elif not dataset and not pasted:
            self.add_error("dataset", "Choose a dataset, or give prompts as lines.")
        elif len(pasted) > MOST_PROMPTS:
            self.add_error("lines", f"{len(pasted):,} prompts: at most {MOST_PROMPTS:,} fit into an arena.")
        elif not self.errors:
            seed = values["seed"] if values["order"] == "random" else None
            self.prompts = pasted or prompts_of(dataset=dataset, count=values["count"], seed=seed)
        return values
