"""Calibration sets, which hold what people chose on some pairs, and checks of judges against them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from webapp.accounts.models import TeamOwned
from webapp.labels.models import Pair
from webapp.principles.models import Principle


class CalibrationSet(TeamOwned):
    """Pairs with people's choices on principles. A version never changes; new decisions make another version."""

    name = models.CharField(max_length=200)
    version = models.PositiveIntegerField(default=1)
    earlier = models.OneToOneField("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="later")
    only_blind = models.BooleanField(default=True, help_text="Only decisions made before the judge's answer was shown.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name}, version {self.version}"


class CalibrationItem(models.Model):
    """What people chose on one pair and principle."""

    set = models.ForeignKey(CalibrationSet, on_delete=models.CASCADE, related_name="items")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="+")
    principle = models.ForeignKey(Principle, on_delete=models.CASCADE, related_name="+")
    choice = models.FloatField(help_text="1: A is better, 0: B, 0.5: a tie.")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["set", "pair", "principle"], name="calibrated_once")]

    def __str__(self) -> str:
        return f"pair {self.pair_id}, {self.principle_id}"


class CalibrationCheck(TeamOwned):
    """A judge that is asked about every item of a set, with the wordings of the day."""

    class Status(models.TextChoices):
        QUEUED = "queued", "waiting for a worker"
        RUNNING = "running", "asking the judge"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    set = models.ForeignKey(CalibrationSet, on_delete=models.CASCADE, related_name="checks")
    judge = models.JSONField(help_text="The judge section of a recipe.")
    judge_title = models.CharField(max_length=300)
    wordings = models.JSONField(help_text="The statement of each principle, by its number.")
    repeats = models.PositiveIntegerField(default=0, help_text="Pairs per principle that are asked a second time.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    error = models.TextField(blank=True)
    seen_at = models.DateTimeField(default=timezone.now, help_text="Last progress, to detect lost checks.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.judge_title} on {self.set}"


class CalibrationAnswer(models.Model):
    """A judge's verdict on one item. With neither a probability nor an error, it has not been asked yet."""

    check_of = models.ForeignKey(CalibrationCheck, on_delete=models.CASCADE, related_name="answers")
    item = models.ForeignKey(CalibrationItem, on_delete=models.CASCADE, related_name="+")
    is_repeat = models.BooleanField(default=False, help_text="Asked a second time, to see whether it says the same.")
    probability = models.FloatField(null=True, blank=True)
    p_shown = models.FloatField(null=True, blank=True)
    p_swapped = models.FloatField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)
    tokens = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["check_of", "item", "is_repeat"], name="checked_once")]

    def __str__(self) -> str:
        return f"answer on {self.item_id}"
