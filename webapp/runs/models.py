"""Runs, their stages, and what stages report. The database is the source of truth; the broker only notifies."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone

from training.config import Stored, read_stored
from webapp.accounts.models import TeamOwned
from webapp.datasets.models import Dataset

LONGEST_TAG = 255  # characters; a tag with two principle names of 64 characters is much shorter


class Stage(TeamOwned):
    """One computation, identified by the hash of its settings and inputs; runs of a team share it."""

    class Status(models.TextChoices):
        WAITING = "waiting", "waiting for inputs"
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "done"
        FAILED = "failed", "failed"
        STOPPED = "stopped", "stopped"

    class Queue(models.TextChoices):
        IO = "io", "workers that ask judges"
        GPU = "gpu", "workers that load models"

    identity = models.CharField(max_length=64)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=30)
    principle = models.CharField(max_length=64, blank=True)
    settings = models.JSONField(default=dict)
    queue = models.CharField(max_length=5, choices=Queue.choices, default=Queue.GPU, help_text="Which workers take it.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.WAITING)
    stop_requested = models.BooleanField(default=False)
    attempt = models.PositiveIntegerField(default=0)
    crashes = models.PositiveIntegerField(default=0, help_text="Crashes without a report since the last resume.")

    # The lease: which worker runs the stage. A worker whose token is no longer in the row must stop.
    lease_token = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    host = models.CharField(max_length=200, blank=True)
    pid = models.PositiveIntegerField(null=True, blank=True)
    locked_until = models.DateTimeField(null=True, blank=True,
                                        help_text="An earlier process holds its folder: not taken before this time.")

    # How far the report stream has been recorded.
    events_offset = models.PositiveBigIntegerField(default=0)
    events_seq = models.PositiveBigIntegerField(default=0)
    rewinds = models.PositiveIntegerField(default=0, help_text="Cursors from before the last rewind are invalid.")
    last_step = models.PositiveIntegerField(default=0)
    progress_done = models.PositiveIntegerField(default=0)
    progress_total = models.PositiveIntegerField(default=0)
    progress_unit = models.CharField(max_length=30, blank=True)
    eta_seconds = models.FloatField(null=True, blank=True)

    failure_kind = models.CharField(max_length=40, blank=True)
    cause = models.TextField(blank=True)
    remedy = models.TextField(blank=True)
    details = models.TextField(blank=True)
    summary = models.JSONField(default=dict, blank=True, help_text="The stage's small results: card, report, summary.")
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "identity"], name="stage_computed_once_a_team")]
        indexes = [models.Index(fields=["status", "lease_until"])]

    def __str__(self) -> str:
        return f"{self.name} {self.identity[:8]}"

    @property
    def folder(self) -> Path:
        """The folder of its files; see training.run.artifacts for the layout."""
        return settings.ARTIFACTS / str(self.team_id) / self.identity

    @property
    def is_active(self) -> bool:
        return self.status in {self.Status.QUEUED, self.Status.RUNNING}


class Run(TeamOwned):
    """One pass through the pipeline. `recipe` is the snapshot of training.config.Recipe; nothing in it changes but the
    checks that a person turns off to go on (`services.run_go_on`), which are part of no stage's identity."""

    class Status(models.TextChoices):
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    name = models.CharField(max_length=200)
    recipe = models.JSONField()
    dataset = models.ForeignKey(Dataset, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.RUNNING)
    place = models.BigIntegerField(null=True, blank=True,
                                   help_text="Its place in the order of runs, lowest first. Empty: its own number.")
    paused = models.BooleanField(default=False, help_text="No further stage of it starts.")
    file_digests = models.JSONField(default=dict, help_text="Digest of each data file by role.")
    corrections = models.JSONField(default=dict, help_text="Digest of people's corrections by principle.")
    stages = models.ManyToManyField(Stage, through="RunStage", related_name="runs")
    note = models.TextField(blank=True, max_length=2000, help_text="What people want to remember of it.")
    archived = models.BooleanField(default=False, help_text="Kept, but not listed.")
    starred = models.BooleanField(default=False, help_text="Marked by the team with a star.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["team", "-id"]),
            models.Index(fields=["status"], name="runs_under_way", condition=models.Q(status="running")),
        ]

    def __str__(self) -> str:
        return self.name

    @cached_property
    def stored(self) -> Stored:
        """The recipe as far as this version can read it, and the names of unknown settings."""
        return read_stored(self.recipe)


class RunTag(models.Model):
    """A word that people give a run, to find it again."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="tags")
    name = models.CharField(max_length=40)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="tag_once_a_run")]

    def __str__(self) -> str:
        return self.name


class RunField(TeamOwned):
    """A name under which runs of a team have values; `webapp.runs.run_values` says which names there are."""

    name = models.CharField(max_length=300)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="run_field_once_a_team")]

    def __str__(self) -> str:
        return self.name


class RunValue(models.Model):
    """A number or a text of a run under a name, derived by `webapp.runs.run_values`, which alone writes it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="values", db_index=False)
    field = models.ForeignKey(RunField, on_delete=models.CASCADE, related_name="values", db_index=False)
    number = models.FloatField(null=True)
    text = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "field"], name="value_once_a_run")]
        indexes = [models.Index(fields=["field", "number", "run"], name="values_by_number")]


class SavedView(TeamOwned):
    """A view of the table of runs under a name: the query of its address."""

    name = models.CharField(max_length=60)
    query = models.TextField(blank=True, max_length=2000)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="view_name_once_a_team")]

    def __str__(self) -> str:
        return self.name


class RunStage(models.Model):
    """A stage in a run. `reused`: it was already computed, or being computed, for an earlier run."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="uses")
    stage = models.ForeignKey(Stage, on_delete=models.PROTECT, related_name="uses")
    name = models.CharField(max_length=100)
    position = models.PositiveSmallIntegerField()
    reused = models.BooleanField(default=False)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="stage_name_once_a_run")]


class Pace(TeamOwned):
    """The pace of a label stage, set by people; the stage's worker writes it into the stage's folder."""

    stage = models.OneToOneField(Stage, on_delete=models.CASCADE, related_name="pace")
    paused = models.BooleanField(default=False)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: as in the recipe.")
    concurrency = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: as in the recipe.")

    class Meta:
        db_table = "judges_pace"  # the table's name from when the model was in the app judges

    def __str__(self) -> str:
        return f"{'paused' if self.paused else 'on'}: {self.stage}"


class MetricChunk(models.Model):
    """Up to 512 points of one series in binary: little-endian int64 steps, float64 values, float64 unix times.

    `index` counts the chunks of a series from 0; only the last one grows. Steps ascend within a series.
    """

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="chunks")
    tag = models.CharField(max_length=LONGEST_TAG)
    index = models.PositiveIntegerField()
    first_step = models.PositiveIntegerField()
    last_step = models.PositiveIntegerField()
    n = models.PositiveIntegerField(help_text="Number of points; over 512 if some came late.")
    minimum = models.FloatField()
    maximum = models.FloatField()
    total = models.FloatField()
    steps = models.BinaryField()
    values = models.BinaryField()
    times = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stage", "tag", "index"], name="chunk_index_once")]


class Sample(models.Model):
    """A response to one of the fixed prompts at a step, with its standardised principle rewards."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="samples")
    step = models.PositiveIntegerField()
    index = models.PositiveSmallIntegerField()
    prompt = models.TextField()
    response = models.TextField()
    reward = models.FloatField()
    rewards = models.JSONField()

    class Meta:
        ordering = ["step", "index"]
        constraints = [models.UniqueConstraint(fields=["stage", "step", "index"], name="sample_once")]


class LogLine(models.Model):
    """A line of a stage's log; warnings carry a code and the step they belong to."""

    CORRECTED = "labels-corrected"  # the code of a line about labels that people changed while the stage waited

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="log")
    seq = models.PositiveBigIntegerField()
    time = models.DateTimeField()
    level = models.CharField(max_length=10)
    message = models.TextField()
    code = models.CharField(max_length=60, blank=True)
    step = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(fields=["stage", "seq"], name="log_line_once")]


class ModelExport(TeamOwned):
    """A stage's model in the form that transformers loads, made by a worker on request; its files are in `folder`."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "in progress"
        DONE = "done", "ready"
        FAILED = "failed", "failed"

    stage = models.OneToOneField(Stage, on_delete=models.CASCADE, related_name="export")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    cause = models.TextField(blank=True)
    remedy = models.TextField(blank=True)
    size = models.PositiveBigIntegerField(default=0, help_text="Bytes of its files.")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    requested_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(null=True, blank=True, help_text="The worker's last sign of life.")

    def __str__(self) -> str:
        return f"export of {self.stage}: {self.status}"

    @property
    def folder(self) -> Path:
        return settings.ARTIFACTS / str(self.team_id) / "exports" / self.stage.identity


class HeadToHead(TeamOwned):
    """The policies of some runs compared with each other by one judge; `webapp.runs.head_to_head` says how."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "in progress"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    judge = models.JSONField(help_text="The judge section of a recipe.")
    judge_title = models.CharField(max_length=300)
    questions = models.JSONField(help_text="What is asked about each pair: name, wording, measure, shares.")
    prompts = models.PositiveIntegerField(help_text="At most this many of the prompts that all answered.")
    with_base = models.BooleanField(default=False, help_text="Whether their common base takes part.")
    done = models.PositiveIntegerField(default=0, help_text="Verdicts of the judge so far.")
    total = models.PositiveIntegerField(default=0, help_text="Verdicts to ask the judge for.")
    result = models.JSONField(default=dict, blank=True, help_text="Win rates by question, once it is done.")
    cause = models.TextField(blank=True)
    remedy = models.TextField(blank=True)
    claim = models.CharField(max_length=32, blank=True, help_text="Of the worker that has it.")
    seen_at = models.DateTimeField(default=timezone.now, help_text="The worker's last sign of life.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"head to head {self.pk}: {self.status}"

    @property
    def is_under_way(self) -> bool:
        return self.status in {self.Status.QUEUED, self.Status.RUNNING}


class HeadToHeadSide(models.Model):
    """A run in a head to head. Its title stays where the run is deleted, so that the result can still be read."""

    head_to_head = models.ForeignKey(HeadToHead, on_delete=models.CASCADE, related_name="sides")
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+")
    place = models.PositiveSmallIntegerField()
    title = models.CharField(max_length=200)

    class Meta:
        ordering = ["place"]
        constraints = [models.UniqueConstraint(fields=["head_to_head", "place"], name="side_once_a_head_to_head")]


class WorkerDevice(models.Model):
    """What a worker that trains computes on, as it said when it started or took its last stage."""

    host = models.CharField(max_length=200, primary_key=True)
    name = models.CharField(max_length=200)
    total_bytes = models.PositiveBigIntegerField()
    is_gpu = models.BooleanField()
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.host}: {self.name}"
