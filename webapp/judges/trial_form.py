"""The form to try a principle: the pair, and the judge that is asked about it."""

from __future__ import annotations

from typing import Any

from django import forms
from pydantic import ValidationError

from training import config
from training.config import field_errors
from webapp.accounts.models import Team
from webapp.judges.forms import clean_address
from webapp.judges.models import Connection

LONGEST_TEXT = 20_000
KINDS = [("rule", "The demo world’s rules"), ("openai", "A model on an OpenAI-compatible server")]


class TrialForm(forms.Form):
    """A pair and a judge. Blank fields of the judge mean what they mean in a recipe."""

    prompt = forms.CharField(max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 2}))
    a = forms.CharField(label="Response A", max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 4}))
    b = forms.CharField(label="Response B", max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 4}))
    kind = forms.ChoiceField(label="Judge", choices=KINDS)
    base_url = forms.CharField(
        label="Server", max_length=500, required=False, widget=forms.URLInput(
            attrs={"placeholder": "https://api.openai.com/v1"}),
        help_text="It ends in /v1. Leave empty for OpenAI.")
    model = forms.CharField(max_length=200, required=False, help_text="Its name on the server.")
    api_key_env = forms.CharField(
        label="Variable with the key", max_length=100, required=False,
        help_text="Set by the administrator for certain hosts. To use a key of your own, save the judge under "
                  "Judges.")

    judge: config.JudgeSettings

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A local model is loaded by the workers only; the web never loads one.
        saved = Connection.objects.of(team).exclude(kind="local")
        self._saved = {f"saved:{connection.pk}": connection for connection in saved}
        kind = self.fields["kind"]
        assert isinstance(kind, forms.ChoiceField)
        kind.choices = [*KINDS, *((value, connection.name) for value, connection in self._saved.items())]

    def clean_base_url(self) -> str:
        return clean_address(str(self.cleaned_data["base_url"]))

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if self.errors:
            return values
        try:
            if saved := self._saved.get(values["kind"]):
                self.judge = saved.settings()
                return values
            self.judge = config.JudgeSettings.model_validate({key: values[key] for key in
                                                      ("kind", "base_url", "model", "api_key_env")})
        except ValidationError as error:
            for field, message in field_errors(error):
                self.add_error(field if field in self.fields else None, message)
        return values
