"""Arenas: policies that answer the same prompts, pairs of their answers, and what people voted, blind.

A ballot is one pair on one person's screen. It is made when the pair is chosen for that person, so that nobody gets a
pair twice, and it holds the vote once there is one.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from webapp.accounts.models import TeamOwned
from webapp.principles.models import Principle
from webapp.runs.models import Run


class Arena(TeamOwned):
    """Settings of an arena, and how far its answers are."""

    class Choice(models.TextChoices):
        ACTIVE = "active", "where a vote tells most"
        RANDOM = "random", "at random"

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "answering"
        READY = "ready", "ready"
        FAILED = "failed", "failed"
        STOPPED = "stopped", "canceled"

    name = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.READY)
    cause = models.TextField(blank=True, help_text="Why the answers could not be made.")
    remedy = models.TextField(blank=True)
    seen_at = models.DateTimeField(default=timezone.now, help_text="Last sign of life of the job that makes answers.")
    claim = models.CharField(max_length=32, blank=True, help_text="Token of the worker that makes answers, if any.")
    choice = models.CharField(max_length=10, choices=Choice.choices, default=Choice.ACTIVE)
    overlap_every = models.PositiveIntegerField(default=5, help_text="Every so many pairs one is shown to several "
                                                                     "people; 0: none.")
    overlap_people = models.PositiveSmallIntegerField(default=2)
    temperature = models.FloatField(default=0.7)
    max_new_tokens = models.PositiveIntegerField(default=256)
    seed = models.PositiveIntegerField(default=0)
    scorer = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
                               help_text="The run whose preference models score the answers.")
    principles = models.ManyToManyField(Principle, blank=True, related_name="+")
    is_open = models.BooleanField(default=True, help_text="Whether people may vote.")
    served = models.PositiveIntegerField(default=0, help_text="Pairs put on a screen; counting it up locks the arena.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_answering(self) -> bool:
        return self.status in (Arena.Status.QUEUED, Arena.Status.RUNNING)


class Entrant(models.Model):
    """A policy in an arena. Its name outlives the run that it is of."""

    arena = models.ForeignKey(Arena, on_delete=models.CASCADE, related_name="entrants")
    name = models.CharField(max_length=300)
    key = models.CharField(max_length=600, blank=True, help_text="As in playground.selectors; empty: imported answers.")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["arena", "name"], name="entrant_once")]

    def __str__(self) -> str:
        return self.name


class ArenaPrompt(models.Model):
    arena = models.ForeignKey(Arena, on_delete=models.CASCADE, related_name="prompts")
    position = models.PositiveIntegerField()
    prompt = models.JSONField(help_text="A list of messages.")
    digest = models.CharField(max_length=64)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["arena", "digest"], name="arena_prompt_once")]

    def __str__(self) -> str:
        return f"prompt {self.position}"


class ArenaAnswer(models.Model):
    """What a policy answered to a prompt, and how a run's preference models score it, where they do."""

    entrant = models.ForeignKey(Entrant, on_delete=models.CASCADE, related_name="answers")
    prompt = models.ForeignKey(ArenaPrompt, on_delete=models.CASCADE, related_name="answers")
    text = models.TextField(blank=True)
    reward = models.FloatField(null=True, blank=True)
    scores = models.JSONField(default=dict, blank=True, help_text="Standardised score by principle.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["entrant", "prompt"], name="arena_answer_once")]

    def __str__(self) -> str:
        return f"answer {self.pk}"


class Pairing(models.Model):
    """Two answers to one prompt that are compared. `first` is the entrant with the lower key."""

    arena = models.ForeignKey(Arena, on_delete=models.CASCADE, related_name="pairings")
    prompt = models.ForeignKey(ArenaPrompt, on_delete=models.CASCADE, related_name="pairings")
    first = models.ForeignKey(Entrant, on_delete=models.CASCADE, related_name="+")
    second = models.ForeignKey(Entrant, on_delete=models.CASCADE, related_name="+")
    people = models.PositiveSmallIntegerField(default=1, help_text="How many people it is meant for.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["prompt", "first", "second"], name="pairing_once")]

    def __str__(self) -> str:
        return f"pair {self.pk}"


class Side(models.TextChoices):
    A = "a", "A"
    B = "b", "B"
    TIE = "tie", "tie"


class Ballot(models.Model):
    """A pair on a person's screen, and the vote. With `swapped` the second entrant's answer is A."""

    class Outcome(models.TextChoices):
        OPEN = "", "no vote yet"
        A = "a", "A better"
        B = "b", "B better"
        TIE = "tie", "tie"
        BAD = "bad", "both bad"
        SKIPPED = "skip", "skipped"

    pairing = models.ForeignKey(Pairing, on_delete=models.CASCADE, related_name="ballots")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    swapped = models.BooleanField(default=False)
    outcome = models.CharField(max_length=4, choices=Outcome.choices, blank=True, default=Outcome.OPEN)
    reason = models.CharField(max_length=300, blank=True, help_text="Why it was skipped.")
    served_at = models.DateTimeField(default=timezone.now)
    voted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["pairing", "user"], name="no_pair_twice")]
        indexes = [models.Index(fields=["user", "outcome"], name="open_ballots")]

    def __str__(self) -> str:
        return f"ballot {self.pk}"


class PrincipleVote(models.Model):
    """Which answer serves one principle better, as the ballot shows them."""

    ballot = models.ForeignKey(Ballot, on_delete=models.CASCADE, related_name="by_principle")
    principle = models.ForeignKey(Principle, on_delete=models.CASCADE, related_name="+")
    side = models.CharField(max_length=3, choices=Side.choices)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["ballot", "principle"], name="one_vote_a_principle")]

    def __str__(self) -> str:
        return f"{self.principle_id}: {self.side}"
