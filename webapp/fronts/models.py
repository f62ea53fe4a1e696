"""Fronts of policies: points that are no run's end, what each answered, and how each answer fared against the base's.

A point keeps its outcomes, so that a front outlives the files of the run that it is of.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from webapp.accounts.models import TeamOwned
from webapp.runs.models import Run, Stage


class PolicyFront(TeamOwned):
    """Some policies of one base on the held-out prompts of a run, judged as the run's evaluation judged."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        ANSWERING = "answering", "answering"
        JUDGING = "judging", "judging"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    name = models.CharField(max_length=200)
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+",
                            help_text="Its evaluation has the prompts, the base's answers and the settings.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    judge = models.JSONField(help_text="The judge section of a recipe.")
    judge_title = models.CharField(max_length=300)
    questions = models.JSONField(help_text="What is asked about each pair: name, wording, measure, shares.")
    prompts = models.PositiveIntegerField(help_text="The first so many of the held-out prompts.")
    temperature = models.FloatField()
    max_new_tokens = models.PositiveIntegerField()
    seed = models.PositiveBigIntegerField()
    done = models.PositiveIntegerField(default=0, help_text="Verdicts of the judge so far.")
    total = models.PositiveIntegerField(default=0, help_text="Verdicts to ask the judge for.")
    cause = models.TextField(blank=True)
    remedy = models.TextField(blank=True)
    claim = models.CharField(max_length=32, blank=True, help_text="Of the worker that has it.")
    seen_at = models.DateTimeField(default=timezone.now, help_text="The worker's last sign of life.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_under_way(self) -> bool:
        return self.status in {self.Status.QUEUED, self.Status.ANSWERING, self.Status.JUDGING}


class PolicyPoint(models.Model):
    """A policy of a front: one of the playground's, or a weighted sum of some."""

    class Kind(models.TextChoices):
        RUN = "run", "end of the run"
        CHECKPOINT = "checkpoint", "kept checkpoint"
        CORNER = "corner", "mix of corners"
        LINE = "line", "between two runs"
        MIX = "mix", "saved mix"

    front = models.ForeignKey(PolicyFront, on_delete=models.CASCADE, related_name="points")
    place = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    label = models.CharField(max_length=700)
    parts = models.JSONField(help_text="[key of a policy, weight] each; keys as in playground.selectors.")
    mix = models.PositiveBigIntegerField(null=True, help_text="The number of the saved mix that it is.")
    evaluation = models.ForeignKey(Stage, null=True, on_delete=models.SET_NULL, related_name="+",
                                   help_text="The evaluation that has its answers: none is generated.")
    outcomes = models.JSONField(default=dict, blank=True, help_text="By question, the judge's probability on each "
                                                                    "prompt that its answer is better than the base's.")

    class Meta:
        ordering = ["place"]
        constraints = [models.UniqueConstraint(fields=["front", "place"], name="point_once_a_front")]

    def __str__(self) -> str:
        return self.label


class PointAnswer(models.Model):
    """What the policy of a point answered to a prompt; `prompt` is its place in the run's evaluation."""

    point = models.ForeignKey(PolicyPoint, on_delete=models.CASCADE, related_name="answers")
    prompt = models.PositiveIntegerField()
    text = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["point", "prompt"], name="point_answer_once")]

    def __str__(self) -> str:
        return f"answer {self.pk}"
