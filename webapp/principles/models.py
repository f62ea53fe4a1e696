"""Principles and their immutable versions: the wording for the judge or the measure, and the look on pages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from webapp.accounts.models import TeamOwned
from webapp.principles.measures import in_words, sentence_of


class Principle(TeamOwned):
    """A named principle; its wording is in versions. A principle named for a vice still scores its absence."""

    class Polarity(models.TextChoices):
        VIRTUE = "virtue", "a virtue: a higher score means more of it"
        VICE = "vice", "a vice: a higher score means less of it"

    name = models.SlugField(max_length=64)
    polarity = models.CharField(max_length=8, choices=Polarity.choices, default=Polarity.VIRTUE)
    description = models.CharField(max_length=300, blank=True)
    symbol = models.CharField(max_length=4, default="●")
    hue = models.CharField(max_length=7, default="#4477AA")
    archived = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="principle_name_once_a_team")]

    def __str__(self) -> str:
        return self.name


class PrincipleVersion(models.Model):
    """One wording, or one measure, never changed: labels and preference models point at it."""

    principle = models.ForeignKey(Principle, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    statement = models.TextField(max_length=2000, help_text="Completes “Which response is …”.")
    measure = models.JSONField(null=True, blank=True, help_text="The measure as in a recipe; null: it is judged.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["principle", "number"], name="version_number_once")]

    def __str__(self) -> str:
        return f"{self.principle.name} v{self.number}"

    @property
    def settings(self) -> dict[str, Any]:
        """The measure as a recipe names it; {} for a wording that is judged."""
        return self.measure if isinstance(self.measure, dict) else {}

    @property
    def measured_as(self) -> str:
        """'words, lower is better'; "" for a wording that is judged."""
        return in_words(self.settings) if self.settings else ""

    @property
    def counts(self) -> str:
        """What its measure counts, as one sentence."""
        return sentence_of(self.settings)
