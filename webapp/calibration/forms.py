"""Forms of calibration: a new set, and a judge to be checked against one."""

from __future__ import annotations

from typing import Any

from django import forms

from training import config
from webapp.accounts.models import Team
from webapp.judges.models import Connection

K = Connection.Kind


class SetForm(forms.Form):
    name = forms.CharField(max_length=200, help_text="What the pairs are for, such as “support answers, October”.")
    only_blind = forms.BooleanField(
        label="Only blind decisions", required=False, initial=True,
        help_text="Those made before the judge’s answer was shown. Others follow the judge that was shown, and make it "
                  "look better than it is.")


class CheckForm(forms.Form):
    judge = forms.ChoiceField(help_text="Saved judges, and the demo world’s rules.")
    repeats = forms.IntegerField(
        label="Pairs asked twice per principle", min_value=0, max_value=500, initial=10,
        help_text="How often a judge says the same when it is asked again.")

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A local model needs a GPU worker for itself; a check is asked by a worker that has none.
        self._saved = {str(row.pk): row for row in Connection.objects.of(team).exclude(kind__in=[K.LOCAL, K.RULE])}
        judge = self.fields["judge"]
        assert isinstance(judge, forms.ChoiceField)
        judge.choices = [*((pk, saved.name) for pk, saved in self._saved.items()), ("rule", "The demo world’s rules")]

    @property
    def chosen(self) -> tuple[config.JudgeSettings, str]:
        """The judge's settings and its title."""
        saved = self._saved.get(self.cleaned_data["judge"])
        if saved is not None:
            return saved.settings(), saved.name
        return config.JudgeSettings(kind="rule"), "the demo world’s rules"
