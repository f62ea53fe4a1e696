"""Labels assigned to people for review, what each person decided, and what came of it.

One `ReviewItem` is one label in one person's queue. Every act of a person is a row of `ReviewDecision` that nothing
changes or deletes, an undo too; the item holds what stands now.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from webapp.accounts.models import Team, TeamOwned
from webapp.labels.models import Label, LabelChange


class Choice(models.TextChoices):
    """What a person says of a pair."""

    A = "a", "A better"
    B = "b", "B better"
    TIE = "tie", "tie"


PROBABILITY = {Choice.A: 1.0, Choice.B: 0.0, Choice.TIE: 0.5}  # that A is better, as corrections of labels have it
SKIP, UNDO = "skip", "undo"


class ReviewAssignment(TeamOwned):
    """Labels of a filter, dealt to people in an order."""

    class Order(models.TextChoices):
        DISAGREEMENT = "disagreement", "judge and preference model disagree most"
        FLIPS = "flips", "the two orders differ most"
        MIDDLE = "middle", "judge least sure"
        RANDOM = "random", "random"

    name = models.CharField(max_length=200)
    filters = models.JSONField(default=dict, blank=True)
    order = models.CharField(max_length=20, choices=Order.choices, default=Order.MIDDLE)
    blind = models.BooleanField(default=True, help_text="The judge's answer is shown only after a person's decision.")
    per_person = models.PositiveIntegerField()
    overlap_every = models.PositiveIntegerField(default=0, help_text="Every so many labels one goes to several people; "
                                                                     "0: none.")
    overlap_people = models.PositiveSmallIntegerField(default=2)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    canceled_at = models.DateTimeField(null=True, blank=True, help_text="When what was left was taken back.")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name


class ReviewItem(TeamOwned):
    """One label in one person's queue."""

    class State(models.TextChoices):
        OPEN = "open", "open"
        DECIDED = "decided", "decided"
        SKIPPED = "skipped", "skipped"
        CANCELED = "canceled", "canceled"

    # Written in the transaction that makes the assignment, whose own team the database checks: a check of both for each
    # of 100,000 rows would take as long as writing them.
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    assignment = models.ForeignKey(ReviewAssignment, on_delete=models.CASCADE, related_name="items", db_index=False,
                                   db_constraint=False)
    label = models.ForeignKey(Label, on_delete=models.CASCADE, related_name="review_items")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    position = models.PositiveIntegerField(help_text="Place in the person's queue, from 0.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    value = models.CharField(max_length=4, choices=Choice.choices, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["assignment", "label", "user"], name="label_once_a_person")]
        indexes = [models.Index(fields=["user", "assignment", "state", "position"], name="queue_of_a_person"),
                   models.Index(fields=["team"], name="review_item_team", condition=models.Q(state="open"))]

    def __str__(self) -> str:
        return f"{self.label_id} for {self.user_id}"


class ReviewDecision(models.Model):
    """One act of a person on an item: a choice, a skip or an undo. Append-only."""

    item = models.ForeignKey(ReviewItem, on_delete=models.CASCADE, related_name="decisions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+",
                             db_index=False)
    value = models.CharField(max_length=4, choices=[*Choice.choices, (SKIP, "skip"), (UNDO, "undo")])
    blind = models.BooleanField(help_text="The judge's answer was hidden when the person decided.")
    seconds = models.FloatField(null=True, blank=True, help_text="How long the pair was in front of the person.")
    key = models.CharField(max_length=64, help_text="Made by the browser: the same request twice is one decision.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="review_request_once")]

    def __str__(self) -> str:
        return f"{self.value} on item {self.item_id}"


class ReviewOutcome(TeamOwned):
    """What people together say of a label, and the correction that it became. Taken back, the row stays."""

    assignment = models.ForeignKey(ReviewAssignment, on_delete=models.CASCADE, related_name="outcomes", db_index=False)
    label = models.ForeignKey(Label, on_delete=models.CASCADE, related_name="+")
    value = models.CharField(max_length=4, choices=Choice.choices)
    is_adjudicated = models.BooleanField(help_text="A member decided between people; else they were unanimous.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    change = models.ForeignKey(LabelChange, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["assignment", "label"], name="one_review_outcome_a_label",
                                               condition=models.Q(withdrawn_at=None))]

    def __str__(self) -> str:
        return f"{self.get_value_display()} on label {self.label_id}"
