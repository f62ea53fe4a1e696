"""An address that cannot be used is refused with a reason at its field, on every page that takes one."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.judges.test_choosing_a_saved_judge import fields_of
from tests.webapp.judges.test_judge_pages import errors_of, send
from training.config import JudgeSettings, shipped_recipe
from training.errors import BadSettings
from training.run.checks import check_run
from webapp.accounts.models import Team
from webapp.judges import trial
from webapp.judges.models import Connection
from webapp.principles.models import Principle
from webapp.runs.form.recipe_form import RecipeForm
from webapp.runs.models import Run

pytestmark = pytest.mark.once  # what is checked is not stored

UNUSABLE = ["http://[::1", f"https://{'n' * 300}.example/v1", "https://.example", "https://judge.example:70000/v1",
            "https://judge..example/v1", "https://xn--zz/v1", "https://judge.example:８８８８/v1", "https://judge\u200d/v1",
            "https://[::1%25lo]/v1", "https://judge.example/v1?key=sk-1"]


@pytest.mark.parametrize("address", UNUSABLE)
def test_every_form_says_what_is_wrong_with_an_address(address: str, owner_client: Client, team: Team) -> None:
    principle = Principle.objects.get(team=team, name="toxicity")
    asked = {"kind": "openai", "model": "m", "base_url": address}

    saved = errors_of(send(owner_client, kind="server", base_url=address))["base_url"]
    tried = owner_client.post(reverse("principles:try", args=[principle.pk]), trial.example() | asked)
    fields = fields_of(RecipeForm.from_recipe(team, shipped_recipe("demo"))) | {
        f"judge.{name}": value for name, value in asked.items()}
    run = owner_client.post("/runs/new/", fields)

    assert saved and errors_of(tried)["base_url"] == saved
    assert saved.rstrip(".") in " ".join(run.context["form"].errors["judge.base_url"])
    assert "sk-1" not in saved
    assert not Connection.objects.of(team).exists() and not Run.objects.of(team).exists()


@pytest.mark.parametrize("address", UNUSABLE)
def test_the_command_line_refuses_it_before_any_work_is_done(address: str, tmp_path: Path) -> None:
    judge = JudgeSettings(kind="openai", model="m", base_url=address)
    recipe = shipped_recipe("demo").model_copy(update={"judge": judge})

    with pytest.raises(BadSettings, match=r"'judge.base_url' cannot be used: .*\. Give the address"):
        check_run(recipe, tmp_path)


@pytest.mark.parametrize("address", ["https://①②⑦.⓪.⓪.①/v1", "https://１０.0.0.7/v1"])
def test_an_address_in_other_digits_is_saved_as_what_it_is(address: str, owner_client: Client, team: Team) -> None:
    send(owner_client, kind="server", base_url=address)

    assert Connection.objects.of(team).get().base_url in {"https://127.0.0.1/v1", "https://10.0.0.7/v1"}


def test_another_spelling_of_the_same_address_keeps_the_key(judge: Connection, owner_client: Client) -> None:
    before = judge.sealed_key

    send(owner_client, to=reverse("judges:edit", args=[judge.pk]), name="Our vLLM", kind="server", model="judge-7b",
         base_url="HTTP://127.0.0.1:9/v1/")

    judge.refresh_from_db()
    assert (judge.base_url, judge.sealed_key) == ("http://127.0.0.1:9/v1", before)
