"""Users and teams. Every row of every other app belongs to a team."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac


class User(AbstractUser):
    """A person's account. A new `session_salt` ends every session that the account has."""

    session_salt = models.CharField(max_length=32, blank=True)

    def _get_session_auth_hash(self, secret: str | bytes | None = None) -> str:
        """What a session must hold to be this account's: Django's own, made of the password, until there is a salt."""
        if not self.session_salt:
            return str(super()._get_session_auth_hash(secret))  # type: ignore[misc]
        return salted_hmac("webapp.accounts.models.User.session", self.password + self.session_salt, secret=secret,
                           algorithm="sha256").hexdigest()


class Team(models.Model):
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=100, unique=True)
    members = models.ManyToManyField(User, through="Membership", related_name="teams")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    OWNER = "owner", "owner"
    MEMBER = "member", "member"
    ANNOTATOR = "annotator", "annotator"


class Membership(models.Model):
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    joined_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="one_membership_a_team")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"

    @property
    def is_annotator(self) -> bool:
        return self.role == Role.ANNOTATOR


class Invitation(models.Model):
    """A link that lets people join a team for a while. Only the digest of its secret is stored."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="invitations")
    digest = models.CharField(max_length=64, unique=True)
    places = models.PositiveSmallIntegerField(default=1, help_text="How many people it may still let in.")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER,
                            help_text="What people are in the team who join by it.")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.places} places in {self.team}"

    @property
    def is_open(self) -> bool:
        return self.places > 0 and self.expires_at > timezone.now()


class TeamQuerySet(models.QuerySet):
    """`Model.objects.of(team)`: the only rows that a member of the team may see."""

    def of(self, team: Team) -> TeamQuerySet:
        return self.filter(team=team)


class TeamOwned(models.Model):
    """Base of every row that belongs to a team."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")

    objects = TeamQuerySet.as_manager()

    class Meta:
        abstract = True
