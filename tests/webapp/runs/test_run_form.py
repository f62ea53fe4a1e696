"""The run form: every setting of the recipe, a message at each field, the command line's YAML, and nothing lost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client
from pytest_django.fixtures import Settings

from tests.training.tiny_models import make_base
from training.config import Lora, Recipe, as_yaml, parse_recipe, shipped_recipe
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset
from webapp.principles.models import Principle
from webapp.principles.services import principle_create, principle_edit
from webapp.runs.form.form_views import free_name
from webapp.runs.form.recipe_fields import OWN_WIDGETS, SECTIONS, folded, specs
from webapp.runs.form.recipe_form import RecipeForm
from webapp.runs.models import Run

NEW = "/runs/new/"
PRESETS = ("demo", "real_english", "small_gpu", "large_gpu")


def posted(team: Team, recipe: Recipe, **changes: str) -> dict[str, Any]:
    """What a browser sends for a recipe, with some fields changed."""
    form = RecipeForm.from_recipe(team, recipe)
    data: dict[str, Any] = {path: entry.text for path, entry in form.entries.items()
                            if entry.spec.kind != "bool" or entry.is_checked}
    data |= {"name": form.name, "source": form.source, "data.source": form.hub_id,
             "row": [row.name for row in form.rows], "principle": [row.name for row in form.rows if row.chosen]}
    for row in form.rows:
        data |= {f"weight:{row.name}": row.weight, f"statement:{row.name}": row.statement}
        data |= {f"measure:{row.name}": row.measure, f"serves:{row.name}": row.serves} if row.measure else {}
    return data | {name.replace("__", "."): value for name, value in changes.items()}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_recipe_goes_through_the_form_unchanged(preset: Any, team: Team, owner_client: Client) -> None:
    recipe = shipped_recipe(preset)
    answer = owner_client.post(f"{NEW}preview/", posted(team, recipe))
    assert answer.context["form"].recipe == recipe
    assert answer.context["preview"].yaml == as_yaml(recipe)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_the_form(preset: Any, owner_client: Client) -> None:
    answer = owner_client.get(f"{NEW}?preset={preset}")
    assert answer.context["form"].recipe == shipped_recipe(preset)
    assert parse_recipe(answer.context["preview"].yaml) == shipped_recipe(preset)


def test_a_measured_principle_is_kept_and_shown(team: Team, owner_client: Client) -> None:
    recipe = Recipe.model_validate({"principles": [
        {"name": "brevity", "measure": {"kind": "words", "toward": "low"}}, {"name": "detail"},
        {"name": "conciseness", "statement": "shorter", "measure": {"kind": "pattern", "pattern": "<b>&\"'"}}]})
    answer = owner_client.post(f"{NEW}preview/", posted(team, recipe))
    assert answer.context["form"].recipe == recipe
    page = owner_client.post(NEW, posted(team, recipe) | {"check": "1"})
    assert "measured by a program, not judged" in page.content.decode() and b"<b>&" not in page.content
    broken = posted(team, recipe) | {"measure:brevity": '{"kind": "wrods"}'}
    errors = owner_client.post(f"{NEW}preview/", broken).context["form"].errors
    assert "which is none; choose one of" in str(errors)


def test_the_judge_of_a_measure_is_no_choice(team: Team) -> None:
    assert "measure" not in dict(specs()["judge.kind"].choices)


def test_training_every_weight_is_a_choice_in_the_form(team: Team, owner_client: Client) -> None:
    demo = shipped_recipe("demo")
    recipe = Recipe.model_validate(demo.model_dump() | {"policy": {"base": demo.policy.base, "lora": None}})
    answer = owner_client.post(f"{NEW}preview/", posted(team, recipe))
    assert answer.context["form"].recipe == recipe
    assert answer.context["preview"].yaml == as_yaml(recipe)
    entries = answer.context["form"].entries
    assert entries["policy.lora.r"].text == "16", "the rank waits for LoRA to be chosen again"
    back = owner_client.post(f"{NEW}preview/", posted(team, recipe, policy__lora="on"))
    assert back.context["form"].recipe.policy == Recipe.model_validate(demo.model_dump()).policy.model_copy(
        update={"lora": Lora(r=16, alpha=32)})
    page = owner_client.get(f"{NEW}?preset=demo").content.decode()
    assert '<option value="on" selected>a LoRA adapter</option><option value="off">every weight</option>' in page


def test_algorithms_that_train_an_adapter_say_so_at_the_field(team: Team) -> None:
    recipe = shipped_recipe("demo")
    data = QueryDict(mutable=True)
    for name, value in posted(team, recipe, policy__lora="off", ppo__algorithm="grpo").items():
        data.setlist(name, value if isinstance(value, list) else [value])
    form = RecipeForm.from_post(team, data)
    assert not form.is_valid()
    assert "choose LoRA, or the algorithm ppo" in " ".join(form.entries["policy.lora"].errors)


def test_every_setting_of_the_recipe_has_a_field(team: Team) -> None:
    shown = {path for section in SECTIONS for path in section.essentials}
    shown |= {spec.path for section in SECTIONS for folded_specs in folded(section).values() for spec in folded_specs}
    assert shown == set(specs())
    recipe = shipped_recipe("demo").model_dump(mode="json")
    leaves = {path for path in _leaves(recipe) if not path.startswith(("principles", "data.columns"))}
    assert leaves - OWN_WIDGETS <= shown


def test_fields_tell_their_bounds() -> None:
    assert specs()["judge.samples"].bounds == "1 to 32"
    assert specs()["ppo.learning_rate"].bounds == "above 0, at most 1"
    assert specs()["scalarization.function"].kind == "choice"


def test_start_makes_the_run_and_goes_to_it(team: Team, owner_client: Client) -> None:
    answer = owner_client.post(NEW, posted(team, shipped_recipe("demo"), name="My run", ppo__steps="7"))
    made = Run.objects.of(team).get()
    assert answer.headers["Location"] == f"/runs/{made.pk}/"
    assert made.name == "My run"
    assert made.recipe["ppo"]["steps"] == 7


def test_check_starts_nothing(team: Team, owner_client: Client) -> None:
    answer = owner_client.post(NEW, posted(team, shipped_recipe("demo")) | {"check": "1"})
    assert answer.status_code == 200
    assert not Run.objects.exists()


@pytest.mark.parametrize(("field", "text", "words"), [
    ("ppo.steps", "abc", "whole number"), ("ppo.steps", "0", "at least 1"), ("ppo.steps", "", "whole number"),
    ("ppo.kl.target", "-1", "above 0"), ("ppo.learning_rate", "nan", "nor NaN"), ("name", " ", "not be empty"),
    ("scalarization.function", "magic", "linear"), ("judge.api_key_env", "HOME", "OPENAI_API_KEY"),
    ("data.columns", "prompt", "be a mapping"), ("policy.base", "/etc", "server's folder of models"),
    ("preference_model.base", "../../x", "server's folder of models"), ("weight:factuality", "many", "number"),
])
def test_what_is_wrong_is_said_at_its_field_and_kept(
    field: str, text: str, words: str, team: Team, owner_client: Client,
) -> None:
    answer = owner_client.post(NEW, posted(team, shipped_recipe("demo")) | {field: text, "ppo.batch_size": "77"})
    assert answer.status_code == 422
    form = answer.context["form"]
    assert words in " ".join(form.errors[field])
    anchor = "id_" + field.replace(":", "_")
    page = answer.content.decode()
    assert f'<a href="#{anchor}">' in page
    assert f'id="{anchor}"' in page
    assert 'value="77"' in page
    if text.strip():
        assert f'value="{text}"' in page or field == "scalarization.function"
    assert not Run.objects.exists()


def test_all_mistakes_are_told_at_once(team: Team, owner_client: Client) -> None:
    answer = owner_client.post(NEW, posted(team, shipped_recipe("demo"), ppo__steps="x", evaluate__prompts="1"))
    assert set(answer.context["form"].errors) == {"ppo.steps", "evaluate.prompts"}
    assert "Please correct 2 fields" in answer.content.decode()


def test_no_principle_is_a_mistake(team: Team, owner_client: Client) -> None:
    answer = owner_client.post(NEW, posted(team, shipped_recipe("demo")) | {"principle": []})
    assert "principles" in answer.context["form"].errors


def test_the_rule_judge_knows_the_demo_world_only(team: Team, owner_client: Client) -> None:
    data = posted(team, shipped_recipe("demo"), source="hub") | {"data.source": "Anthropic/hh-rlhf"}
    assert "demo world only" in owner_client.post(NEW, data).context["form"].errors["judge.kind"][0]


def test_shares_have_their_sign(team: Team) -> None:
    query = QueryDict(mutable=True)
    for name, value in posted(team, shipped_recipe("demo"), **{"weight:toxicity": "-2"}).items():
        query.setlist(name, value if isinstance(value, list) else [value])
    form = RecipeForm.from_post(team, query)
    assert {row.name: row.share for row in form.rows if row.chosen} == {
        "factuality": "33%", "toxicity": "−33%", "sycophancy": "17%", "conciseness": "17%"}


def test_the_teams_wording_goes_into_the_recipe(team: Team, owner_client: Client) -> None:
    principle = _principle(team, "factuality")
    principle.versions.create(number=2, statement="truer to the facts")
    answer = owner_client.post(f"{NEW}preview/", posted(team, shipped_recipe("demo"), **{"statement:factuality": ""}))
    assert answer.context["form"].recipe.principles[0].statement == "truer to the facts"


def test_a_dataset_of_the_team(team: Team, owner: User, owner_client: Client) -> None:
    dataset = _dataset(team, owner)
    recipe = shipped_recipe("small_gpu")
    data = posted(team, recipe, source=f"dataset:{dataset.pk}")
    form = owner_client.post(f"{NEW}preview/", data).context["form"]
    assert form.recipe.data.source == f"datasets/{dataset.pk}-my-prompts.jsonl"
    assert form.dataset == dataset
    again = RecipeForm.from_recipe(team, form.recipe)
    assert again.source == f"dataset:{dataset.pk}"


def test_another_teams_dataset_is_not_there(
    team: Team, other_team: Team, stranger: User, owner_client: Client,
) -> None:
    theirs = _dataset(other_team, stranger)
    data = posted(team, shipped_recipe("small_gpu"), source=f"dataset:{theirs.pk}")
    answer = owner_client.post(NEW, data)
    assert "no longer exists" in answer.context["form"].errors["data.source"][0]
    assert theirs.name not in owner_client.get(NEW).content.decode()
    assert not Run.objects.exists()


def test_clone_opens_with_the_runs_recipe(team: Team, owner_client: Client, stranger_client: Client) -> None:
    owner_client.post(NEW, posted(team, shipped_recipe("demo"), ppo__steps="33"))
    made = Run.objects.get()
    form = owner_client.get(f"{NEW}?clone={made.pk}").context["form"]
    assert form.recipe.ppo.steps == 33 and form.recipe.name == "Demo world (2)"
    assert stranger_client.get(f"{NEW}?clone={made.pk}").status_code == 404
    assert owner_client.get(f"{NEW}?clone=x").status_code == 404


def test_a_clone_gets_the_next_name_that_is_free(team: Team, owner: User, other_team: Team) -> None:
    for name in ("Demo", "Demo (2)", "Demo (4)"):
        Run.objects.create(team=team, name=name, recipe={}, created_by=owner)
    Run.objects.create(team=other_team, name="Demo (3)", recipe={})
    assert free_name(team, "Demo") == free_name(team, "Demo (2)") == "Demo (3)"
    assert free_name(team, "x" * 200) == "x" * 190 + " (2)"


def test_the_preset_that_fills_the_form_is_marked(owner_client: Client, team: Team, owner: User) -> None:
    def marked(address: str) -> list[str]:
        page = owner_client.get(address).content.decode()
        return re.findall(r'href="\?preset=(\w+)" aria-current="true"', page)

    assert (marked(NEW), marked(f"{NEW}?preset=large_gpu")) == (["demo"], ["large_gpu"])
    owner_client.post(NEW, posted(team, shipped_recipe("demo")))
    assert marked(f"{NEW}?clone={Run.objects.get().pk}") == []


def test_calls_are_one_number(team: Team, owner_client: Client) -> None:
    """With a judge on a server they stand in its costs, evaluation included, and nowhere else."""
    data = posted(team, shipped_recipe("demo"), judge__kind="openai", judge__model="m",
                  judge__base_url="http://127.0.0.1:9/v1")
    answer = owner_client.post(f"{NEW}preview/", data)
    assert answer.context["preview"].costs is not None
    assert "At most" not in answer.content.decode()


def test_pasted_yaml_fills_the_form(team: Team, owner_client: Client) -> None:
    recipe = shipped_recipe("small_gpu")
    answer = owner_client.post(NEW, posted(team, shipped_recipe("demo")) | {"yaml": as_yaml(recipe), "use_yaml": "1"})
    assert answer.context["form"].recipe == recipe
    assert not Run.objects.exists()


@pytest.mark.parametrize(("text", "words"), [
    ("{", "not valid YAML"), ("- 1", "must be a mapping"), ("principles: []", "needs at least 1"),
    ("surprise: 1\nprinciples: [{name: bias}]", "surprise"), ("!!python/object/apply:os.system [ls]", "it has the tag"),
])
def test_pasted_yaml_that_is_wrong_is_kept_with_the_reason(
    text: str, words: str, team: Team, owner_client: Client,
) -> None:
    answer = owner_client.post(NEW, posted(team, shipped_recipe("demo"), name="Kept") | {
        "yaml": text, "use_yaml": "1"})
    assert answer.status_code == 422
    assert words in answer.context["yaml_problem"]
    assert answer.context["form"].name == "Kept"
    assert answer.context["pasted"] == text


def test_a_file_of_the_server_is_no_source(team: Team, owner_client: Client) -> None:
    text = as_yaml(shipped_recipe("small_gpu")).replace("Anthropic/hh-rlhf", "/etc/passwd")
    answer = owner_client.post(NEW, {"yaml": text, "use_yaml": "1"})
    assert "Import it under Datasets" in answer.context["form"].errors["data.source"][0]


def test_the_preview_counts_stages_and_calls(team: Team, owner_client: Client) -> None:
    demo = owner_client.get(NEW).context["preview"]
    assert [stage.name for stage in demo.stages][-2:] == ["ppo", "evaluate"]
    assert (demo.calls, demo.labels, demo.reused) == (0, 4 * 600, 0)


def test_a_second_run_reuses_what_was_computed(team: Team, owner_client: Client) -> None:
    owner_client.post(NEW, posted(team, shipped_recipe("demo")))
    preview = owner_client.get(f"{NEW}?preset=demo").context["preview"]
    assert preview.reused >= 1


def models_folder(tmp_path: Path, settings: Settings) -> Path:
    """The server's folder of models, with a model `mine` in it; beside it a folder `secret`."""
    settings.VAR = tmp_path
    make_base(tmp_path / "models" / "mine")
    (tmp_path / "secret").mkdir()
    return tmp_path / "models"


@pytest.mark.parametrize("field", ["policy.base", "preference_model.base", "judge.model"])
def test_models_come_from_the_servers_folder_of_models(
    field: str, team: Team, owner: User, tmp_path: Path, settings: Settings
) -> None:
    folder = models_folder(tmp_path, settings)
    dataset = _dataset(team, owner)
    recipe = shipped_recipe("demo").model_dump(mode="json")
    recipe["preference_model"]["max_length"] = 64
    recipe["data"]["source"] = f"datasets/{dataset.pk}-my-prompts.jsonl"
    recipe["judge"] = {"kind": "local", "model": "demo-world"}

    def errors(name: str) -> dict[str, list[str]]:
        section, key = field.split(".")
        chosen = recipe | {section: recipe[section] | {key: name}}
        form = RecipeForm.from_recipe(team, Recipe.model_validate(chosen))
        assert form.is_valid() is not bool(form.errors)
        return form.errors

    for good in ("mine", str(folder / "mine"), "demo-world", "owner/name", "gpt2"):
        assert errors(good) == {}, good
    for bad in ("..", "../secret", str(tmp_path / "secret"), "/", "/etc", ".", "mine/.."):
        assert list(errors(bad)) == [field], bad
        assert "server's folder of models" in errors(bad)[field][0]


def test_what_cannot_be_done_with_a_model_is_said_at_its_field(
    team: Team, owner_client: Client, tmp_path: Path, settings: Settings
) -> None:
    models_folder(tmp_path, settings)
    data = posted(team, shipped_recipe("demo"), policy__base="mine", ppo__max_new_tokens="128")
    answer = owner_client.post(NEW, data)
    assert answer.status_code == 422
    form = answer.context["form"]
    assert list(form.errors) == ["ppo.max_new_tokens"]
    assert form.entries["ppo.max_new_tokens"].errors == form.errors["ppo.max_new_tokens"]


def test_a_family_that_is_not_decoded_exactly_is_refused_in_the_form(
    team: Team, owner_client: Client, tmp_path: Path, settings: Settings
) -> None:
    folder = models_folder(tmp_path, settings)
    config = folder / "mine" / "config.json"
    config.write_text(json.dumps({"model_type": "rwkv", "architectures": ["RwkvForCausalLM"], "vocab_size": 100}))
    answer = owner_client.post(f"{NEW}preview/", posted(team, shipped_recipe("demo"), policy__base="mine"))
    [message] = answer.context["form"].errors["policy.base"]
    assert "'mine', which is a model of the family rwkv: its decoding here would not be exact" in message


def test_a_dataset_of_the_hub_is_no_choice_until_it_is_imported(team: Team, owner_client: Client) -> None:
    assert 'value="hub"' not in owner_client.get(f"{NEW}?preset=demo").content.decode()
    preset = owner_client.get(f"{NEW}?preset=small_gpu")
    assert "Anthropic/hh-rlhf (not imported)" in preset.content.decode()
    answer = owner_client.post(NEW, posted(team, shipped_recipe("small_gpu")))
    assert answer.status_code == 422
    assert "Import it under Datasets" in answer.context["form"].errors["data.source"][0]
    junk = owner_client.post(NEW, posted(team, shipped_recipe("small_gpu"), data__source="../etc"))
    assert "Import it under Datasets" in junk.context["form"].errors["data.source"][0]


def _leaves(value: Any, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    return [leaf for key, part in value.items() for leaf in _leaves(part, f"{prefix}.{key}" if prefix else key)]


def _principle(team: Team, name: str) -> Any:
    from webapp.principles.models import Principle

    return Principle.objects.of(team).get(name=name)


def _dataset(team: Team, user: User) -> Dataset:
    return Dataset.objects.create(team=team, name="My prompts", status=Dataset.Status.READY, rows_good=10,
                                  digest="d", created_by=user)


def test_a_measured_principle_of_the_team_brings_its_measure(team: Team, owner: User, owner_client: Client) -> None:
    measure = {"kind": "pattern", "pattern": "é+", "toward": "low"}
    principle_create(team=team, user=owner, name="accents", statement="lower in pattern (…)", polarity="virtue",
                     measure=measure)
    page = owner_client.get(NEW)
    row = next(row for row in page.context["form"].rows if row.name == "accents")
    assert not row.chosen and "pattern (pattern: “é+”), lower is better" in page.content.decode()

    demo = posted(team, shipped_recipe("demo"))
    ticked = demo | {"principle": [*demo["principle"], "accents"], "serves:accents": "gauge"}
    recipe = owner_client.post(f"{NEW}preview/", ticked | {"measure:accents": row.measure}).context["form"].recipe
    choice = next(choice for choice in recipe.principles if choice.name == "accents")
    assert choice.measure is not None and choice.measure.model_dump(exclude_defaults=True) == measure
    assert (choice.serves, choice.statement) == ("gauge", "lower in pattern (…)"), "labels find the team's version"
    copied = RecipeForm.from_recipe(team, recipe)
    assert copied.is_valid() and copied.recipe == recipe


def test_a_recipe_that_judges_what_the_team_measures_stays_judged_and_offers_the_measure(
    team: Team, owner: User, owner_client: Client,
) -> None:
    principle = Principle.objects.get(team=team, name="conciseness")
    principle_edit(principle=principle, user=owner, statement="lower in words", polarity="virtue", description="",
                   symbol="★", hue="#228833", measure={"kind": "words", "toward": "low"})
    recipe = Recipe.model_validate({"principles": [{"name": "conciseness"}]})
    answer = owner_client.post(NEW, posted(team, recipe) | {"check": "1"})
    assert answer.context["form"].recipe == recipe
    assert "as your team’s principle does (words, lower is better)" in answer.content.decode()

    ticked = owner_client.post(f"{NEW}preview/", posted(team, recipe) | {"measured": "conciseness"})
    choice = ticked.context["form"].recipe.principles[0]
    assert (choice.measure.kind, choice.measure.toward, choice.wording) == ("words", "low", "lower in words")
