"""The form of a conversation's title."""

from __future__ import annotations

from django import forms

from webapp.playground.services import LONGEST_TITLE


class TitleForm(forms.Form):
    title = forms.CharField(max_length=LONGEST_TITLE)
