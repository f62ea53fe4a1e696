"""Data sets: prompts or preference pairs. Texts are in a separate table, so that lists read narrow rows."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from webapp.accounts.models import TeamOwned


class Dataset(TeamOwned):
    class Kind(models.TextChoices):
        PROMPTS = "prompts", "prompts"
        DIALOGUES = "dialogues", "prompts with a response"
        PAIRS = "pairs", "preference pairs"

    class Status(models.TextChoices):
        UPLOADED = "uploaded", "waiting for columns"
        IMPORTING = "importing", "importing"
        READY = "ready", "ready"
        FAILED = "failed", "failed"

    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.PROMPTS)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.UPLOADED)
    filename = models.CharField(max_length=300, blank=True, help_text="Name of the uploaded file; empty for a hub id.")
    hub_id = models.CharField(max_length=200, blank=True)
    split = models.CharField(max_length=100, default="train")
    upload = models.CharField(max_length=300, blank=True, help_text="Random server-side name of the uploaded file.")
    columns = models.JSONField(default=dict, blank=True)
    digest = models.CharField(max_length=64, blank=True, help_text="Hash of all rows in order.")
    rows_read = models.PositiveIntegerField(default=0)
    rows_good = models.PositiveIntegerField(default=0)
    rows_bad = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    claim = models.CharField(max_length=32, blank=True, help_text="Token of the worker that imports it, if any.")
    heartbeat_at = models.DateTimeField(null=True, help_text="When the import was last sent or active.")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Import attempts since the last progress.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name


class DatasetRow(models.Model):
    """One good row, in file order; `number` is its 1-based number in the file."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="rows")
    number = models.PositiveIntegerField()

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="row_number_once")]


class DatasetText(models.Model):
    """The texts of a row: a prompt (list of messages), and the responses where there are any."""

    row = models.OneToOneField(DatasetRow, primary_key=True, on_delete=models.CASCADE, related_name="text")
    prompt = models.JSONField()
    chosen = models.TextField(blank=True)
    rejected = models.TextField(blank=True)


class RowWords(models.Model):
    """What a row is found by: its distinct words, folded (`searching.words_of`). Derived, so backups leave it out."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="+")
    number = models.PositiveIntegerField()
    words = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="row_words_once")]


class RejectedRow(models.Model):
    """A row that could not be imported, with the reason and its beginning; at most the first 10,000 are kept."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="rejected_rows")
    number = models.PositiveIntegerField()
    reason = models.CharField(max_length=300)
    raw = models.CharField(max_length=500, blank=True, default="", help_text="The beginning of the row, as JSON.")

    class Meta:
        ordering = ["number"]
