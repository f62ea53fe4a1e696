"""Stored conversations: a title, two policies, turns with both answers and votes on them; prompts that a team keeps.

A turn never changes once it is answered.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

from webapp.accounts.models import TeamOwned
from webapp.runs.models import Run


class PolicyMix(TeamOwned):
    """A policy of its own: the weighted sum of what policies on one base have learnt (a rewarded soup)."""

    name = models.CharField(max_length=200)
    parts = models.JSONField(help_text="[key of a policy, weight] each; keys as in selectors.PolicyChoice.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        return f"mix:{self.pk}"


class Conversation(TeamOwned):
    """A chat with two policies. Its owner writes in it; the rest of the team reads it."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    title = models.CharField(max_length=200)
    policy_a = models.CharField(max_length=600, help_text="The key of the policy, as in selectors.PolicyChoice.")
    policy_b = models.CharField(max_length=600)
    name_a = models.CharField(max_length=600, help_text="The policy's name; it outlives the run.")
    name_b = models.CharField(max_length=600)
    is_blind = models.BooleanField(default=False, help_text="Sides were shuffled; names are hidden until the first "
                                                            "vote.")
    system = models.TextField(blank=True, help_text="The system prompt that every turn begins with.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-updated_at", "-id"]
        indexes = [models.Index(fields=["team", "owner", "-updated_at"], name="conversation_history")]

    def __str__(self) -> str:
        return self.title


class Turn(models.Model):
    """One prompt and both answers to it. Another try at the same position is another turn; one of them is shown."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="turns")
    position = models.PositiveSmallIntegerField()
    attempt = models.PositiveSmallIntegerField(default=1)
    is_shown = models.BooleanField(default=True)
    prompt = models.TextField()
    sampling = models.JSONField(default=dict, help_text="stream.ChatSampling, with the seed that was used.")
    scored_by = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["position", "attempt"]
        constraints = [models.UniqueConstraint(fields=["conversation", "position", "attempt"], name="attempt_once")]

    def __str__(self) -> str:
        return f"turn {self.position}, attempt {self.attempt}"


class Answer(models.Model):
    """What one policy answered in a turn."""

    class End(models.TextChoices):
        COMPLETE = "complete", ""
        CUT = "cut", "cut at the limit"
        STOPPED = "stopped", "stopped"

    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="answers")
    side = models.PositiveSmallIntegerField(help_text="0: policy A, 1: policy B.")
    text = models.TextField(blank=True)
    end = models.CharField(max_length=10, choices=End.choices, default=End.STOPPED)
    tokens = models.PositiveIntegerField(null=True)
    seconds = models.FloatField(null=True)
    reward = models.FloatField(null=True)
    scores = models.JSONField(default=list, help_text="[principle, standardised score, part of the reward] each.")

    class Meta:
        ordering = ["side"]
        constraints = [models.UniqueConstraint(fields=["turn", "side"], name="one_answer_a_side")]

    def __str__(self) -> str:
        return f"answer {'AB'[self.side]}"


class ChatVote(models.Model):
    """Which answer of a turn a person found better. `blind`: before any name of the conversation was shown."""

    class Outcome(models.TextChoices):
        A = "a", "A better"
        B = "b", "B better"
        TIE = "tie", "tie"
        BAD = "bad", "both bad"

    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="votes")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    outcome = models.CharField(max_length=3, choices=Outcome.choices)
    blind = models.BooleanField()
    by_principle = models.JSONField(default=dict, blank=True, help_text="a, b or tie, by the principle's name.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["turn", "user"], name="one_vote_a_turn")]

    def __str__(self) -> str:
        return f"{self.turn_id}: {self.get_outcome_display()}"


class SavedPrompt(TeamOwned):
    """A prompt that the team keeps to ask again."""

    text = models.TextField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.text[:80]
