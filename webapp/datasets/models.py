"""Datasets: prompts or pairs of responses. Texts are in a separate table, so that lists read narrow rows.

Rows never change once a dataset is ready: runs are identified by their digest. Changes are collected in a draft, which
is saved as another dataset, the next version.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.functional import cached_property

from webapp.accounts.models import TeamOwned


class Dataset(TeamOwned):
    class Kind(models.TextChoices):
        PROMPTS = "prompts", "prompts"
        DIALOGUES = "dialogues", "prompts with a response"
        PAIRS = "pairs", "preference pairs"
        UNDECIDED = "undecided", "pairs without a choice"

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
    aspects = models.JSONField(default=dict, blank=True, help_text="Rated rows by aspect.")
    ratings_digest = models.CharField(max_length=64, blank=True, default="", db_default="",
                                      help_text="Hash of the ratings of all rows in order; empty: none is rated.")
    references = models.PositiveIntegerField(default=0, db_default=0, help_text="Rows with a reference answer.")
    references_digest = models.CharField(max_length=64, blank=True, default="", db_default="",
                                         help_text="Hash of the reference answers of all rows in order; empty: none.")
    rows_read = models.PositiveIntegerField(default=0)
    rows_good = models.PositiveIntegerField(default=0)
    rows_bad = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    claim = models.CharField(max_length=32, blank=True, help_text="Token of the worker that imports it, if any.")
    heartbeat_at = models.DateTimeField(null=True, help_text="When the import was last sent or active.")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Import attempts since the last progress.")
    version = models.PositiveIntegerField(default=1)
    made_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="made_into")
    made_from_version = models.PositiveIntegerField(null=True, blank=True, help_text="Stays when that is deleted.")
    family = models.PositiveBigIntegerField(null=True, blank=True,
                                            help_text="Key of version 1, also once it is deleted; empty: this is it.")
    rows_excluded = models.PositiveIntegerField(default=0, help_text="Rows of `made_from` that it leaves out.")
    rows_edited = models.PositiveIntegerField(default=0)
    rows_added = models.PositiveIntegerField(default=0, db_default=0, help_text="Rows of another dataset.")
    made_by = models.CharField(max_length=500, blank=True, default="", db_default="",
                               help_text="What was done to the rows of `made_from`, in a sentence; empty: a draft.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["family", "version"], name="dataset_version_once")]

    def __str__(self) -> str:
        return self.title

    @property
    def has_pairs(self) -> bool:
        """Whether rows have two responses, with a choice or without."""
        return self.kind in (Dataset.Kind.PAIRS, Dataset.Kind.UNDECIDED)

    @property
    def is_version(self) -> bool:
        """Whether it was made from another dataset's rows, instead of being imported."""
        return self.family is not None

    @property
    def first_version(self) -> int:
        """The key of version 1, by which all versions of a dataset are found."""
        return self.pk if self.family is None else self.family

    @property
    def difference(self) -> str:
        """What differs from the dataset that it is made from."""
        return self.made_by or in_words(self.rows_excluded, self.rows_edited)

    @property
    def difference_from(self) -> str:
        """What differs, as words before the version that it is made from."""
        return f"{self.made_by}; made from" if self.made_by else f"{self.difference} from"

    @property
    def responses_expected(self) -> int:
        """How many responses each of its rows should have."""
        return 2 if self.has_pairs else int(self.kind == Dataset.Kind.DIALOGUES)

    @property
    def title(self) -> str:
        """The name as lists of choices show it."""
        return titled(self.name, self.version)


def titled(name: str, version: int) -> str:
    """A dataset's name with its version, where it is not the first."""
    return name if version == 1 else f"{name}, version {version}"


def in_words(excluded: int, edited: int) -> str:
    """What differs from the dataset below: '3 rows excluded, 1 edited'."""
    rows = f"{excluded:,} row{'' if excluded == 1 else 's'} excluded"
    if not edited:
        return rows
    return f"{rows}, {edited:,} edited" if excluded else f"{edited:,} row{'' if edited == 1 else 's'} edited"


class DatasetRow(models.Model):
    """One good row, in file order; `number` is its 1-based number in the file."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="rows")
    number = models.PositiveIntegerField()

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="row_number_once")]


class DatasetText(models.Model):
    """The texts of a row: a prompt (list of messages), the responses where there are any, and the reference answer.

    `undecided`: nobody chose between the two, which are merely the first and the second.
    """

    row = models.OneToOneField(DatasetRow, primary_key=True, on_delete=models.CASCADE, related_name="text")
    prompt = models.JSONField()
    chosen = models.TextField(blank=True)
    rejected = models.TextField(blank=True)
    undecided = models.BooleanField(default=False, db_default=False)
    reference = models.TextField(blank=True, default="", db_default="")


class RowRatings(models.Model):
    """What was said of a row's two responses on single aspects (`training.data.ratings`): {"honesty": [4, 2]}, the
    chosen one's first.

    `pair` is the digest under which a run knows the pair; with `swapped` its A is the second response.
    """

    row = models.OneToOneField(DatasetRow, primary_key=True, on_delete=models.CASCADE, related_name="rated")
    pair = models.CharField(max_length=32, db_index=True)
    swapped = models.BooleanField()
    ratings = models.JSONField()


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


class Draft(models.Model):
    """What the team wants to change in a dataset's rows. Once saved as a version it never changes."""

    base = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="drafts")
    saved_as = models.OneToOneField(Dataset, null=True, blank=True, on_delete=models.CASCADE, related_name="changes")
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["base"], condition=models.Q(saved_as=None),
                                               name="one_open_draft_a_dataset")]

    @property
    def difference(self) -> str:
        return in_words(self.excluded_count, self.edited_count)

    @cached_property
    def excluded_count(self) -> int:
        return self.excluded.count()

    @cached_property
    def edited_count(self) -> int:
        """Rows that are edited and not excluded."""
        return self.edited.exclude(number__in=self.excluded.values("number")).count()


class RowChange(models.Model):
    """Who changed a row, by its number, and when."""

    number = models.PositiveIntegerField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        abstract = True


class ExcludedRow(RowChange):
    """A row that the next version leaves out."""

    draft = models.ForeignKey(Draft, on_delete=models.CASCADE, related_name="excluded")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["draft", "number"], name="row_excluded_once")]


class EditedRow(RowChange):
    """A row's texts as the next version will have them."""

    draft = models.ForeignKey(Draft, on_delete=models.CASCADE, related_name="edited")
    prompt = models.JSONField()
    chosen = models.TextField(blank=True)
    rejected = models.TextField(blank=True)
    reference = models.TextField(blank=True, default="", db_default="")
    words = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["draft", "number"], name="row_edited_once")]

    @property
    def state(self) -> str:
        """Tells this edit of the row from any other."""
        return self.at.isoformat()


class Computation(models.Model):
    """Work on a dataset's rows that a worker does once: computing, then done, or failed with `error` in words."""

    class Status(models.TextChoices):
        COMPUTING = "computing", "computing"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.COMPUTING)
    error = models.TextField(blank=True)
    rows_read = models.PositiveIntegerField(default=0)
    claim = models.CharField(max_length=32, blank=True, help_text="Token of the worker that computes it, if any.")
    heartbeat_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveSmallIntegerField(default=0)
    unit = models.CharField(max_length=200, default="words", help_text="What lengths are counted in.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        abstract = True


class DatasetProfile(Computation):
    """What a dataset's rows hold in numbers (`training.data.profile`)."""

    TASK = "workers.profile_dataset"

    dataset = models.OneToOneField(Dataset, on_delete=models.CASCADE, related_name="profile")
    result = models.JSONField(default=dict)


class Curation(Computation):
    """A rule that makes a new version: which rows it drops, or which dataset it adds. Its worker says how many rows
    stay; then it is saved as a version, or replaced. A dataset has one that is not saved."""

    TASK = "workers.preview_curation"

    base = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="curations")
    saved_as = models.OneToOneField(Dataset, null=True, blank=True, on_delete=models.CASCADE, related_name="curation")
    rule = models.JSONField(help_text="What is done: `webapp.datasets.rules`.")
    merged = models.ForeignKey(Dataset, null=True, blank=True, on_delete=models.SET_NULL, related_name="merges",
                               help_text="The dataset whose rows are added.")
    excluded = models.JSONField(default=list, help_text="Numbers of the rows that are dropped.")
    rows_kept = models.PositiveIntegerField(default=0)
    rows_added = models.PositiveIntegerField(default=0)
    sentence = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["base"], condition=models.Q(saved_as=None),
                                               name="one_open_curation_a_dataset")]

    @property
    def rows_dropped(self) -> int:
        return self.base.rows_good - self.rows_kept
