"""A key of the administrator's environment goes to the hosts listed for it, and to no server of a member's."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django.fixtures import Settings

from tests.webapp.judges.test_choosing_a_saved_judge import fields_of
from training import config
from training.config import shipped_recipe
from training.errors import BadSettings
from webapp import environment
from webapp.accounts.models import Team, User
from webapp.judges.keys import check_key_host, key_of
from webapp.runs.form.recipe_form import RecipeForm
from webapp.runs.models import Run, Stage
from webapp.runs.services import run_create
from workers.preparing import prepare

LAB = "CONCORD_JUDGE_LAB_KEY"


@pytest.fixture(autouse=True)
def listed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAB, "sesame-1234")
    settings.JUDGE_KEY_HOSTS = {LAB: ["vllm.lan", "bücher.example"]}
    settings.JUDGE_KEYS_TO_LOOPBACK = False


def lab(address: str, variable: str = LAB) -> config.JudgeSettings:
    return config.JudgeSettings(kind="openai", model="m", base_url=address, api_key_env=variable)


@pytest.mark.parametrize("address", ["http://vllm.lan:8000/v1", "https://VLLM.lan./v1", "https://xn--bcher-kva.example"])
def test_a_listed_host_gets_the_key_however_its_address_is_written(address: str, team: Team) -> None:
    assert key_of(team=team, judge=lab(address)) == "sesame-1234"


@pytest.mark.parametrize("address", [
    "https://evil.example/v1", "https://vllm.lan.evil.example/v1", "https://evil.example/vllm.lan", "", "https://[::1",
    "http://127.0.0.1:9/v1", "https://notvllm.lan/v1"])
def test_any_other_host_does_not(address: str, team: Team) -> None:
    with pytest.raises(BadSettings, match=r"may not be sent to the host|cannot be used") as refused:
        key_of(team=team, judge=lab(address))
    assert "sesame" not in str(refused.value)


def test_the_message_names_the_variable_the_host_and_the_setting_and_not_whether_it_is_set(team: Team) -> None:
    messages = []
    for variable in (LAB, "CONCORD_JUDGE_NOBODY_KEY"):
        with pytest.raises(BadSettings) as refused:
            key_of(team=team, judge=lab("https://evil.example/v1", variable))
        messages.append(str(refused.value).replace(variable, "VARIABLE"))

    assert messages[0] == messages[1]
    assert "VARIABLE=evil.example" in messages[0] and "CONCORD_JUDGE_KEY_HOSTS" in messages[0]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "127.1"])
def test_on_a_laptop_the_laptop_itself_gets_it(host: str, settings: Settings) -> None:
    settings.JUDGE_KEYS_TO_LOOPBACK = True

    check_key_host(lab(f"http://{host}:8000/v1"))


def test_the_run_form_says_it_at_the_variable_and_starts_nothing(team: Team, owner_client: Client) -> None:
    recipe = shipped_recipe("demo").model_copy(update={"judge": lab("https://evil.example/v1")})

    answer = owner_client.post("/runs/new/", fields_of(RecipeForm.from_recipe(team, recipe)))

    assert "may not be sent to the host 'evil.example'" in " ".join(answer.context["form"].errors["judge.api_key_env"])
    assert not Run.objects.of(team).exists()


def test_a_stage_of_such_a_run_is_never_prepared(team: Team, owner: User, sent: list[object]) -> None:
    """The list may have changed since, and a recipe may come from elsewhere than the form."""
    recipe = shipped_recipe("demo").model_copy(update={"judge": lab("https://evil.example/v1")})
    run = run_create(team=team, user=owner, recipe=recipe, dataset=None)
    stage = run.stages.filter(kind="label").order_by("pk")[0]

    with pytest.raises(BadSettings, match="may not be sent to the host"):
        prepare(Stage.objects.get(pk=stage.pk))


def test_the_setting_is_read_from_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_JUDGE_KEY_HOSTS", f"{LAB}=vllm.lan gpu.lan , {LAB}=third.lan,CONCORD_JUDGE_X_KEY=x.lan")

    assert environment.lists("CONCORD_JUDGE_KEY_HOSTS") == {
        LAB: ["vllm.lan", "gpu.lan", "third.lan"], "CONCORD_JUDGE_X_KEY": ["x.lan"]}
    monkeypatch.setenv("CONCORD_JUDGE_KEY_HOSTS", "vllm.lan")
    with pytest.raises(ImproperlyConfigured, match="takes VARIABLE=host"):
        environment.lists("CONCORD_JUDGE_KEY_HOSTS")
