"""The form to try a measured principle: two responses, and the prompt they answer."""

from __future__ import annotations

from typing import Any

from django import forms

from webapp.principles.trying import LONGEST_TEXT


class MeasureTrialForm(forms.Form):
    """Two responses to a prompt. An empty response is one that can be measured.

    Args:
        needs_reference: the measure compares with the prompt's reference answer.
    """

    prompt = forms.CharField(max_length=LONGEST_TEXT, required=False, widget=forms.Textarea(attrs={"rows": 2}),
                             help_text="Only measures of installed packages look at it.")
    reference = forms.CharField(label="Reference answer", max_length=LONGEST_TEXT,
                                widget=forms.Textarea(attrs={"rows": 2}),
                                help_text="What the dataset would hold as the right answer to the prompt.")
    a = forms.CharField(label="Response A", max_length=LONGEST_TEXT, required=False, strip=False,
                        widget=forms.Textarea(attrs={"rows": 4}))
    b = forms.CharField(label="Response B", max_length=LONGEST_TEXT, required=False, strip=False,
                        widget=forms.Textarea(attrs={"rows": 4}))

    def __init__(self, *args: Any, needs_reference: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not needs_reference:
            del self.fields["reference"]
