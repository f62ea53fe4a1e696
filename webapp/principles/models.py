"""Principles and their immutable versions: the wording for the judge, and the look on pages."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from webapp.accounts.models import TeamOwned


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
    """One wording, never changed: labels and preference models point at it."""

    principle = models.ForeignKey(Principle, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    statement = models.TextField(max_length=2000, help_text="Completes “Which response is …”.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["principle", "number"], name="version_number_once")]

    def __str__(self) -> str:
        return f"{self.principle.name} v{self.number}"
