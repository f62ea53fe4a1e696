"""The forms of an arena: its answers from a file, and how pairs are chosen."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat

from training.errors import BadData
from webapp.accounts.models import Team
from webapp.arena.answer_files import GivenAnswer, checked, read_answers
from webapp.arena.models import Arena
from webapp.arena.services import PairSettings
from webapp.principles.models import Principle

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
