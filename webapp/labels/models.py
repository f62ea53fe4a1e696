"""Pairs, the AI labels on them, and people's decisions on those labels."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from training.judges.identity import judge_title
from webapp.accounts.models import TeamOwned
from webapp.datasets.models import Dataset
from webapp.principles.models import Principle, PrincipleVersion


class Pair(TeamOwned):
    """Two responses to one prompt. `digest` (training.run.pipeline.pair_digest) identifies it within the team."""

    digest = models.CharField(max_length=32)
    dataset = models.ForeignKey(Dataset, null=True, blank=True, on_delete=models.SET_NULL, related_name="pairs")
    excerpt = models.CharField(max_length=120, help_text="Beginning of the last user message, for lists.")
    human = models.FloatField(null=True, blank=True, help_text="1 if a person preferred A, 0 if B.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        # The digest comes first, for pairs are looked up by it a few hundred at a time.
        constraints = [models.UniqueConstraint(fields=["digest", "team"], name="pair_once_a_team")]

    def __str__(self) -> str:
        return self.excerpt


class PairText(models.Model):
    pair = models.OneToOneField(Pair, primary_key=True, on_delete=models.CASCADE, related_name="text")
    prompt = models.JSONField()
    response_a = models.TextField()
    response_b = models.TextField()


class PairWords(models.Model):
    """What a pair is found by: its distinct words, folded (`pair_search.words_of`). Derived, so backups leave it out.

    The database keeps an index of them beside it (migration 0009): PostgreSQL a generated column with a GIN index,
    SQLite a table of FTS5 that three triggers keep in step.
    """

    pair = models.OneToOneField(Pair, primary_key=True, on_delete=models.CASCADE, related_name="+")
    words = models.TextField()

    def __str__(self) -> str:
        return self.words[:60]


class Label(TeamOwned):
    """One judge's label of one pair for one wording of a principle: bought once, used by all runs of the team.

    `probability` is the mean over both orders that A is better. What a person decides never overwrites it:
    `effective_probability` is what preference models are trained on.
    """

    class Review(models.TextChoices):
        OPEN = "open", "not reviewed"
        APPROVED = "approved", "approved"
        OVERRIDDEN = "overridden", "overridden"
        REJECTED = "rejected", "rejected"

    # Its index is that of `label_bought_once`.
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="labels", db_index=False)
    principle_version = models.ForeignKey(PrincipleVersion, on_delete=models.PROTECT, related_name="labels")
    judge = models.CharField(max_length=300)  # training.judges.identity
    prompt_version = models.CharField(max_length=20)
    model = models.CharField(max_length=200, blank=True)
    probability = models.FloatField(null=True, blank=True)
    p_shown = models.FloatField(null=True, blank=True, help_text="P(A is better) with A shown first.")
    p_swapped = models.FloatField(null=True, blank=True, help_text="P(A is better) with B shown first.")
    order_gap = models.FloatField(null=True, blank=True, help_text="|p_shown - p_swapped|.")
    confidence = models.FloatField(null=True, blank=True, help_text="|2p - 1|.")
    order_flip = models.BooleanField(default=False, help_text="The two orders name different winners.")
    error = models.CharField(max_length=500, blank=True)
    tokens = models.PositiveIntegerField(default=0)
    review = models.CharField(max_length=10, choices=Review.choices, default=Review.OPEN)
    corrected_probability = models.FloatField(null=True, blank=True)
    reviewed_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL,
                                    related_name="+")
    reviewed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["pair", "principle_version", "judge", "prompt_version"],
                                    name="label_bought_once"),
        ]
        indexes = [
            models.Index(fields=["team", "principle_version", "confidence"]),
            models.Index(fields=["team", "order_flip"]),
            models.Index(fields=["team", "review"]),
            models.Index(fields=["team", "confidence"]),
            models.Index(fields=["team", "judge"]),
        ]

    def __str__(self) -> str:
        return f"{self.principle_version} on pair {self.pair_id}"

    @property
    def judge_title(self) -> str:
        """The judge's display name: the model and its host."""
        return judge_title(self.judge)

    @property
    def decision(self) -> str:
        """What a person decided, in words; empty if nobody has."""
        return decision_in_words(self.review, self.corrected_probability)

    @property
    def effective_probability(self) -> float | None:
        """The probability that training uses: the correction if there is one, None if a person rejected the label."""
        if self.review == self.Review.REJECTED:
            return None
        return self.corrected_probability if self.review == self.Review.OVERRIDDEN else self.probability


class LabelChange(TeamOwned):
    """A person's change of a label, before and after. Append-only, so that the history can be shown and undone.

    Changes made by one action share a `batch`. An undone change keeps its row, with `undone_at` set.
    """

    label = models.ForeignKey(Label, on_delete=models.CASCADE, related_name="changes")
    batch = models.CharField(max_length=32, db_index=True)
    blind = models.BooleanField(default=False, help_text="Decided before the judge's answer was shown.")
    before = models.CharField(max_length=10, choices=Label.Review.choices)
    before_probability = models.FloatField(null=True, blank=True)
    after = models.CharField(max_length=10, choices=Label.Review.choices)
    after_probability = models.FloatField(null=True, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by_batch = models.CharField(max_length=32, blank=True, db_index=True,
                                       help_text="The action on many labels that undid this change, if any.")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.get_after_display()} at {self.at:%Y-%m-%d %H:%M}"

    @property
    def decision(self) -> str:
        """What the person decided, in words."""
        return decision_in_words(self.after, self.after_probability)


def decision_in_words(review: str, probability: float | None) -> str:
    """A decision as "B better", "A better, 0.65", "tie", "approved" or "rejected"; empty for none."""
    if review != Label.Review.OVERRIDDEN or probability is None:
        return "" if review == Label.Review.OPEN else str(Label.Review(review).label)
    if probability == 0.5:
        return "tie"
    winner, share = ("A", probability) if probability > 0.5 else ("B", 1 - probability)
    return f"{winner} better" if share == 1 else f"{winner} better, {share:.2f}"


class AspectUse(TeamOwned):
    """What a dataset's ratings on one aspect are used for: to choose between A and B on a principle, or nothing.

    A version of a dataset without rows of its own here has those of the version before it (`rating_uses.uses_of`).
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="aspect_uses")
    aspect = models.CharField(max_length=64)
    principle = models.ForeignKey(Principle, null=True, on_delete=models.CASCADE, related_name="+",
                                  help_text="Empty: not used.")
    lower_is_better = models.BooleanField(default=False, help_text="The lower rating is the better one.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["aspect"]
        constraints = [models.UniqueConstraint(fields=["dataset", "aspect"], name="aspect_used_once"),
                       models.UniqueConstraint(fields=["dataset", "principle"], name="principle_has_one_aspect")]

    def __str__(self) -> str:
        return f"{self.aspect} of {self.dataset}"


class BulkAction(TeamOwned):
    """One action on many labels: what it does, its progress, and the action that undoes it.

    The set of labels is fixed when the action is created: those that match `filters` and have a key up to `up_to`.
    """

    class Kind(models.TextChoices):
        APPROVE = "approve", "approve"
        REJECT = "reject", "reject"
        TAKE_BACK = "take_back", "take back the last decision on"
        UNDO = "undo", "undo"

    class Status(models.TextChoices):
        WAITING = "waiting", "waiting for a worker"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    kind = models.CharField(max_length=10, choices=Kind.choices)
    filters = models.JSONField(default=dict, blank=True)
    up_to = models.BigIntegerField(default=0)
    includes_decided = models.BooleanField(default=False, help_text="Also changes labels that people have decided.")
    undoes = models.OneToOneField("self", null=True, blank=True, on_delete=models.CASCADE, related_name="undone_by")
    batch = models.CharField(max_length=32, unique=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.WAITING)
    total = models.PositiveIntegerField(default=0, help_text="Number of labels in the action.")
    handled = models.PositiveIntegerField(default=0, help_text="Number of labels processed so far.")
    changed = models.PositiveIntegerField(default=0)
    message = models.CharField(max_length=500, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    touched_at = models.DateTimeField(null=True, blank=True, help_text="Last progress reported by its worker.")
    finished_at = models.DateTimeField(null=True, blank=True)
    hidden = models.BooleanField(default=False, help_text="Its user has hidden the notice.")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["team", "by", "-id"]), models.Index(fields=["status"])]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.total:,} labels"

    @property
    def is_active(self) -> bool:
        return self.status in {self.Status.WAITING, self.Status.RUNNING}
