"""What deletes, spends or takes somebody out is asked about first, with what is lost, and done only when agreed to."""

from __future__ import annotations

import html
import re

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.labels.conftest import make_pair as make_pair
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset
from webapp.judges.models import Comparison
from webapp.judges.services import connection_create
from webapp.principles.models import Principle
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db


def answered(client: Client, page: str, address: str) -> None:
    """Press the page's button: send its form as a browser does."""
    fields = re.findall(r'<(?:input type="hidden"|button class="button primary") name="([^"]+)" value="([^"]*)"', page)
    client.post(address, {html.unescape(name): html.unescape(value) for name, value in fields})


def test_a_dataset_is_deleted_after_a_question_with_its_rows(owner_client: Client, team: Team) -> None:
    dataset = Dataset.objects.create(team=team, name="A <b>", status=Dataset.Status.READY, rows_good=1490,
                                     rows_read=1494)
    address = reverse("datasets:delete", args=[dataset.pk])
    page = owner_client.post(address).content.decode()
    assert "Delete “A &lt;b&gt;”?" in page and "Delete the dataset and its 1,494 rows" in page
    assert Dataset.objects.exists()
    answered(owner_client, page, address)
    assert not Dataset.objects.exists()


def test_a_member_is_removed_after_a_question(owner_client: Client, team: Team, teammate: User) -> None:
    address = reverse("member_remove", args=[team.memberships.get(user=teammate).pk])
    page = owner_client.post(address).content.decode()
    assert "Remove teammate from Alignment?" in page and team.memberships.count() == 2
    answered(owner_client, page, address)
    assert team.memberships.count() == 1


def test_the_runs_of_the_paper_are_started_after_a_question_with_their_number(
    owner_client: Client, team: Team, sent: object,
) -> None:
    page = owner_client.post(reverse("runs:start_paper")).content.decode()
    count = int(re.search(r"Start (\d+) runs\?", page)[1])  # type: ignore[index]
    assert count > 10 and not Run.objects.exists()
    answered(owner_client, page, reverse("runs:start_paper"))
    assert Run.objects.count() == count


@pytest.mark.parametrize(("pairs", "asks"), [(25, False), (26, True)])
def test_more_than_a_hundred_calls_of_a_judge_are_asked_about(
    owner_client: Client, team: Team, owner: User, make_pair, sent: object, pairs: int, asks: bool,
) -> None:
    for number in range(30):
        make_pair(team, f"Question {number}")
    judge = connection_create(team=team, user=owner, name="J", kind="server", model="m",
                              base_url="http://127.0.0.1:9/v1")
    principle = Principle.objects.of(team).get(name="toxicity")
    address = reverse("judges:principle_compare", args=[principle.pk])
    form = {"statement_a": "less toxic", "statement_b": "much less toxic", "judge": judge.pk, "pairs": pairs,
            "dataset": "", "judge_b": ""}
    page = owner_client.post(address, form).content.decode()
    assert Comparison.objects.exists() is not asks
    if asks:
        assert "Ask the judge up to 104 times?" in page
        answered(owner_client, page, address)
    assert Comparison.objects.get().statement_b == "much less toxic"
