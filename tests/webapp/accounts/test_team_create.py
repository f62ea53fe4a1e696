"""A new team starts with the library's principles, and the demo team can be seeded any number of times."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from training.config.principles import library
from webapp.accounts.models import Team, User
from webapp.accounts.services import demo_seed, team_create
from webapp.principles.models import Principle, PrincipleVersion


def test_a_team_gets_its_own_copy_of_the_library_at_version_one(team: Team, other_team: Team) -> None:
    versions = PrincipleVersion.objects.filter(principle__team=team).select_related("principle")

    assert {version.principle.name: version.statement for version in versions} == {
        name: entry.statement for name, entry in library().items()}
    assert {version.number for version in versions} == {1}
    assert Principle.objects.of(other_team).count() == 12


def test_two_teams_of_one_name_have_two_addresses(owner: User) -> None:
    slugs = [team_create(name="Alignment", user=owner).slug for _ in range(3)]

    assert slugs == ["alignment", "alignment-2", "alignment-3"]


@pytest.mark.django_db
def test_seeding_the_demo_twice_makes_one_team_and_a_login_that_works(settings: Settings) -> None:
    assert demo_seed() == demo_seed()

    user = User.objects.get(username=settings.DEMO_USER)
    assert user.is_staff and user.has_perm("labels.change_label") and not user.has_perm("accounts.change_user")
    assert list(user.teams.values_list("slug", flat=True)) == ["demo-team"]
    assert user.check_password(settings.DEMO_PASSWORD)


def test_a_stranger_is_logged_in_to_another_team(stranger_client: Client, team: Team) -> None:
    assert stranger_client.session["_auth_user_id"]
