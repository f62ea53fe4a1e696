"""Sweeps: many runs of one recipe, started a few at a time. The database alone knows where a sweep is."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from webapp.accounts.models import TeamOwned
from webapp.datasets.models import Dataset
from webapp.runs.models import Run, Stage


class Sweep(TeamOwned):
    """A recipe and what is varied over. `recipe` is a snapshot; `over` lists what was asked for, first and later."""

    name = models.CharField(max_length=180)
    recipe = models.JSONField()
    over = models.JSONField(default=list, help_text="Each 'over' of a sweep file that combinations were made from.")
    dataset = models.ForeignKey(Dataset, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    at_a_time = models.PositiveSmallIntegerField(default=1, help_text="How many of its runs are under way at most.")
    paused = models.BooleanField(default=False, help_text="No further run of it starts.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["team", "-id"], name="sweeps_of_a_team")]

    def __str__(self) -> str:
        return self.name


class SweepRun(TeamOwned):
    """One combination of a sweep, and its run once that has started. A started one without a run: it was deleted."""

    class Status(models.TextChoices):
        WAITING = "waiting", "waiting"
        STARTED = "started", "started"
        CANCELLED = "cancelled", "cancelled"
        REFUSED = "refused", "could not start"

    sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="entries")
    number = models.PositiveIntegerField(help_text="From 1, in the order in which they start.")
    varied = models.JSONField(help_text="The values of its own, by dotted path.")
    digest = models.CharField(max_length=64, help_text="Of its recipe without the name: each recipe is run once.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.WAITING)
    run = models.OneToOneField(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    held_by = models.ForeignKey(Stage, null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
                                help_text="A failed stage that it needs too: it waits until that is tried again.")
    refusal = models.TextField(blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["sweep", "number"], name="sweep_number_once"),
                       models.UniqueConstraint(fields=["sweep", "digest"], name="sweep_recipe_once")]

    def __str__(self) -> str:
        return f"{self.sweep}, {self.number}"
