"""The form to try a measured principle: two responses, and the prompt they answer."""

from __future__ import annotations

from django import forms

from webapp.principles.trying import LONGEST_TEXT


class MeasureTrialForm(forms.Form):
    """Two responses to a prompt. An empty response is one that can be measured."""

    prompt = forms.CharField(max_length=LONGEST_TEXT, required=False, widget=forms.Textarea(attrs={"rows": 2}),
                             help_text="Only measures of installed packages look at it.")
    a = forms.CharField(label="Response A", max_length=LONGEST_TEXT, required=False, strip=False,
                        widget=forms.Textarea(attrs={"rows": 4}))
    b = forms.CharField(label="Response B", max_length=LONGEST_TEXT, required=False, strip=False,
                        widget=forms.Textarea(attrs={"rows": 4}))
