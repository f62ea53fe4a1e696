"""Forms of datasets: a file or a hub id, and which column means what."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat

from training.config.hub_names import is_hub_id
from training.data.records import ENDINGS, KNOWN, SUFFIXES
from training.data.records.unpacking import PACKINGS

ROLES = (("prompt", "Prompt"), ("chosen", "Chosen response"), ("rejected", "Rejected response"),
         ("response_a", "Response A, nobody chose"), ("response_b", "Response B, nobody chose"),
         ("response", "Only response"), ("reference", "Reference answer"), ("input", "Added to the prompt"),
         ("system", "System message"), ("history", "Earlier turns"))


class UploadForm(forms.Form):
    file = forms.FileField(
        help_text="JSONL, JSON, CSV, TSV, Parquet or Arrow, as it is or packed: .gz, .zst, .xz, or .zip with one file.",
        widget=forms.FileInput(attrs={"accept": ",".join((*ENDINGS, *PACKINGS))}))
    name = forms.CharField(max_length=200, required=False, help_text="Leave empty to use the file’s name.")

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if not str(file.name).lower().endswith(SUFFIXES):
            raise forms.ValidationError(f"“{file.name}” is of an unknown type. Known are {KNOWN}.")
        size, limit = file.size or 0, settings.UPLOAD_LIMIT_BYTES
        if size > limit:
            raise forms.ValidationError(
                f"The file has {filesizeformat(size)}; the limit is {filesizeformat(limit)}. Compress or split it, "
                "or raise CONCORD_UPLOAD_LIMIT_MB on the server.")
        return file

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not cleaned.get("name") and cleaned.get("file"):
            cleaned["name"] = PurePath(str(cleaned["file"].name)).name.split(".")[0][:200] or "untitled"
        return cleaned


class HubForm(forms.Form):
    hub_id = forms.CharField(
        label="Hub id", max_length=200, widget=forms.TextInput(attrs={"placeholder": "Anthropic/hh-rlhf"}))
    split = forms.CharField(max_length=100, initial="train", help_text=(
        "With the name of a configuration where the dataset has several: preference/train."))
    name = forms.CharField(max_length=200, required=False, help_text="Leave empty to use the id.")

    def clean_hub_id(self) -> str:
        hub_id: str = self.cleaned_data["hub_id"]
        if not is_hub_id(hub_id):
            raise forms.ValidationError(f"“{hub_id}” is not a hub id. An id looks like Anthropic/hh-rlhf. To use a "
                                        "file of your own, upload it with the other form.")
        return hub_id

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not cleaned.get("name") and cleaned.get("hub_id"):
            cleaned["name"] = cleaned["hub_id"]
        return cleaned


class NameForm(forms.Form):
    name = forms.CharField(max_length=200)


class ColumnsForm(forms.Form):
    """Which column holds what; empty: recognised. Without `columns` (a hub id) names are typed."""

    def __init__(self, *args: Any, columns: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for role, label in ROLES:
            if columns is None:
                self.fields[role] = forms.CharField(label=label, max_length=200, required=False)
            else:
                choices = [("", "–"), *((column, column) for column in columns)]
                self.fields[role] = forms.ChoiceField(label=label, choices=choices, required=False)

    @property
    def mapping(self) -> dict[str, str]:
        """Role to column, for the roles that were given one."""
        return {role: value for role, value in self.cleaned_data.items() if value}
