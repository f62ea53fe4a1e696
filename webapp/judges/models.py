"""Models about judges: saved connections, names that mean the same judge, comparisons."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from training import config
from training.judges.identity import judge_name, judge_title
from webapp.accounts.models import TeamOwned
from webapp.judges.prices import FREE, list_price
from webapp.labels.models import Pair
from webapp.labels.prices import Price
from webapp.principles.models import Principle

LOGPROBS = [("auto", "if the server supports them"), ("yes", "required"), ("no", "never requested")]


class Connection(TeamOwned):
    """One saved judge of a team. A recipe contains its model, its address and the name of its key, never the key."""

    class Kind(models.TextChoices):
        OPENAI = "openai", "OpenAI"
        SERVER = "server", "an OpenAI-compatible server"
        LOCAL = "local", "a local model on the workers' machine"
        RULE = "rule", "the demo world's rules"

    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.OPENAI)
    base_url = models.CharField(max_length=500, blank=True, help_text="Ends in /v1. Empty for OpenAI and local judges.")
    model = models.CharField(max_length=200, blank=True)
    sealed_key = models.TextField(blank=True, editable=False)
    reasoning = models.BooleanField(default=False, help_text="The model reasons before it answers.")
    logprobs = models.CharField(max_length=4, choices=LOGPROBS, default="auto")
    price_in = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0)],
                                 help_text="Dollars per million input tokens. Empty: list price.")
    price_out = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0)],
                                  help_text="Dollars per million output tokens. Empty: list price.")
    concurrency = models.PositiveIntegerField(default=16, validators=[MinValueValidator(1), MaxValueValidator(512)])
    requests_per_minute = models.PositiveIntegerField(default=0, help_text="0: no limit.")
    tokens_per_minute = models.PositiveIntegerField(default=0, help_text="0: no limit.")
    report = models.JSONField(default=dict, blank=True, help_text="Result of the last test.")
    tested_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="judge_name_once_a_team")]

    def __str__(self) -> str:
        return self.name

    @property
    def has_key(self) -> bool:
        return bool(self.sealed_key)

    @property
    def key_variable(self) -> str:
        """The environment variable that passes the key to a stage's process; a recipe names the key by it."""
        return f"CONCORD_JUDGE_SAVED_{self.pk}_KEY" if self.sealed_key else ""

    @property
    def key_context(self) -> str:
        """The context that the key is encrypted for: this row with this address."""
        return f"judges.Connection:{self.pk}:{self.base_url}"

    @property
    def price(self) -> Price | None:
        """The connection's own price, else the list price; None if neither is known."""
        if self.kind in {self.Kind.LOCAL, self.Kind.RULE}:
            return FREE
        listed = list_price(self.model) if self.kind == self.Kind.OPENAI else None
        tokens_in = self.price_in if self.price_in is not None else listed and listed.tokens_in
        tokens_out = self.price_out if self.price_out is not None else listed and listed.tokens_out
        return None if tokens_in is None or tokens_out is None else Price(tokens_in, tokens_out)

    @property
    def recipe_kind(self) -> str:
        return "openai" if self.kind == self.Kind.SERVER else self.kind

    def recipe_fields(self) -> dict[str, Any]:
        """The fields of a recipe's judge section for this connection.

        `reasoning` and `logprobs` are left out unless they are set here, so that the recipe's own values stay.
        """
        fields: dict[str, Any] = {"kind": self.recipe_kind, "model": self.model, "base_url": self.base_url,
                                  "api_key_env": self.key_variable, "concurrency": self.concurrency,
                                  "requests_per_minute": self.requests_per_minute,
                                  "tokens_per_minute": self.tokens_per_minute}
        if self.reasoning:
            fields["reasoning"] = True
        if self.logprobs != "auto":
            fields["logprobs"] = self.logprobs
        if price := self.price:
            fields |= {"price_in": price.tokens_in, "price_out": price.tokens_out}
        return fields

    def settings(self) -> config.JudgeSettings:
        return config.JudgeSettings.model_validate(self.recipe_fields())

    @property
    def label_name(self) -> str:
        """The judge name on the labels of this connection."""
        return judge_name(self.settings())


class SameJudge(TeamOwned):
    """A judge name on labels; a person declared all names of its group to be the same judge."""

    name = models.CharField(max_length=300)
    group = models.CharField(max_length=300, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="in_one_group_of_judges")]

    def __str__(self) -> str:
        return f"{judge_title(self.name)} is {judge_title(self.group)}"


class Comparison(TeamOwned):
    """A comparison of two wordings by one judge, or of two judges on one wording, before many labels are bought."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    principle = models.ForeignKey(Principle, on_delete=models.CASCADE, related_name="comparisons")
    statement_a = models.TextField(max_length=2000)
    statement_b = models.TextField(max_length=2000)
    judge = models.JSONField(help_text="The judge section of a recipe.")
    judge_title = models.CharField(max_length=300)
    judge_b = models.JSONField(null=True, blank=True, help_text="The second judge. Empty: one judge, two wordings.")
    judge_title_b = models.CharField(max_length=300, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    error = models.TextField(blank=True)
    seen_at = models.DateTimeField(default=timezone.now, help_text="Last progress, to detect lost comparisons.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        if self.of_judges:
            return f"{self.principle.name}: {self.judge_title} / {self.judge_title_b}"
        return f"{self.principle.name}: {self.statement_a[:40]} / {self.statement_b[:40]}"

    @property
    def of_judges(self) -> bool:
        """Whether two judges are compared on one wording."""
        return self.judge_b is not None

    @property
    def titles(self) -> tuple[str, str]:
        """The titles of the two sides."""
        return (self.judge_title, self.judge_title_b) if self.of_judges else ("Old wording", "New wording")


class ComparisonAnswer(models.Model):
    """The answer on one pair for one side. With neither a probability nor an error, it has not been asked yet."""

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="answers")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="+")
    side = models.CharField(max_length=1, choices=[("a", "A"), ("b", "B")])
    probability = models.FloatField(null=True, blank=True)
    p_shown = models.FloatField(null=True, blank=True)
    p_swapped = models.FloatField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)
    tokens = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["comparison", "pair", "side"], name="compared_once")]

    @property
    def flipped(self) -> bool:
        """Whether its two orders name different winners."""
        return (self.p_shown is not None and self.p_swapped is not None
                and (self.p_shown - 0.5) * (self.p_swapped - 0.5) < 0)
