"""Forms of the rules that make a new version: one a kind, on one page."""

from __future__ import annotations

from typing import Any

from django import forms

from webapp.datasets.computing import units
from webapp.datasets.curations import mergeable
from webapp.datasets.models import Dataset
from webapp.datasets.rules import SAME, Rule
from webapp.datasets.searching import QUERY_CHARACTERS, query_words

_MOST_LENGTH, _MOST_SEED = 10_000_000, 2**31 - 1
_SHOWN_DATASETS = 200


class RuleForm(forms.Form):
    """A rule, once it is valid."""

    kind = ""
    title = ""
    help = ""

    def __init__(self, dataset: Dataset, data: Any = None) -> None:
        super().__init__(data, auto_id=f"{self.kind}_%s")
        self.dataset = dataset
        self.prepare()

    def prepare(self) -> None:
        """What the dataset says of the fields."""

    @property
    def rule(self) -> Rule:
        return Rule(kind=self.kind, **{  # type: ignore[typeddict-item]  # each form's fields are settings of its kind
            name: value for name, value in self.cleaned_data.items() if name not in ("unit", "merged")})

    @property
    def chosen_unit(self) -> str:
        return str(self.cleaned_data.get("unit", "words"))

    @property
    def chosen_dataset(self) -> Dataset | None:
        return self.cleaned_data.get("merged")


class DeduplicateForm(RuleForm):
    kind, title = "deduplicate", "Drop repeated rows"
    help = ("The first of the rows that are the same stays. Look at the examples on the profile before you drop nearly "
            "equal prompts.")
    same = forms.ChoiceField(label="Drop", choices=list(SAME.items()))


class FilterForm(RuleForm):
    kind, title = "filter", "Drop rows by what they hold"
    help = "A row is dropped if any of these is true of it."
    empty = forms.BooleanField(label="A response is empty", required=False, initial=True)
    equal = forms.BooleanField(label="Both responses are equal", required=False, initial=True)
    prompt_longer = forms.IntegerField(label="The prompt is longer than", required=False, min_value=1,
                                       max_value=_MOST_LENGTH)
    response_longer = forms.IntegerField(label="A response is longer than", required=False, min_value=1,
                                         max_value=_MOST_LENGTH)
    unit = forms.ChoiceField(label="Lengths are in")
    search = forms.CharField(label="It has all these words", required=False, max_length=QUERY_CHARACTERS,
                             help_text="As in the search: in the prompt or a response, in any case.")
    keep_found = forms.BooleanField(label="Drop the rows without these words instead", required=False)

    def prepare(self) -> None:
        self.fields["unit"] = forms.ChoiceField(label="Lengths are in", choices=list(units().items()))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("search") and not query_words(cleaned["search"]):
            self.add_error("search", "There is no word in it. Give a word, or leave it empty.")
        if cleaned.get("keep_found") and not cleaned.get("search"):
            self.add_error("search", "Give the words that rows must have to stay.")
        reasons = ("empty", "equal", "prompt_longer", "response_longer", "search")
        if not self.errors and not any(cleaned.get(name) for name in reasons):
            raise forms.ValidationError("Nothing is chosen, so no row would be dropped. Choose at least one.")
        return cleaned


class SampleForm(RuleForm):
    kind, title = "sample", "Draw a sample"
    help = "The same seed draws the same rows, and a larger sample holds a smaller one. Their order stays."
    rows = forms.IntegerField(min_value=1)
    seed = forms.IntegerField(min_value=0, max_value=_MOST_SEED, initial=0)

    def clean_rows(self) -> int:
        rows: int = self.cleaned_data["rows"]
        if rows >= self.dataset.rows_good:
            raise forms.ValidationError(f"{rows:,} is not fewer than the {self.dataset.rows_good:,} rows of this "
                                        "dataset. Give a smaller number.")
        return rows


class MergeForm(RuleForm):
    kind, title = "merge", "Add another dataset"
    help = "Its rows come after these, with their ratings. Drop repeated rows afterwards if the two overlap."
    merged = forms.ModelChoiceField(Dataset.objects.none(), label="Dataset", empty_label="choose")

    def prepare(self) -> None:
        field = self.fields["merged"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = mergeable(self.dataset)
        field.choices = [("", "choose"), *(
            (other.pk, f"{other.title} ({other.rows_good:,} rows)")
            for other in mergeable(self.dataset).only("pk", "name", "version", "rows_good")[:_SHOWN_DATASETS])]


FORMS: dict[str, type[RuleForm]] = {form.kind: form for form in (DeduplicateForm, FilterForm, SampleForm, MergeForm)}
