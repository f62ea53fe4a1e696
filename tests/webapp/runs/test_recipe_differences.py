"""What differs between the recipes of runs: only that, by section, in words, and what all share apart from it."""

from __future__ import annotations

from typing import Any

from django.test import Client

from tests.webapp.runs.seeds import make_run
from training.config import Recipe, shipped_recipe
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset
from webapp.runs.compare.recipe_differences import RecipeDifferences
from webapp.runs.models import Run


def demo(**changes: Any) -> Recipe:
    """The demo recipe with some sections changed: `ppo={"steps": 7}`."""
    values = shipped_recipe("demo").model_dump(mode="json")
    for name, change in changes.items():
        values[name] = values[name] | change if isinstance(change, dict) and values[name] else change
    return Recipe.model_validate(values)


def compared(client: Client, *runs: Run) -> RecipeDifferences:
    differences = client.get("/runs/compare/?" + "&".join(f"run={run.pk}" for run in runs)).context["recipes"]
    assert isinstance(differences, RecipeDifferences)
    return differences


def differing(client: Client, *runs: Run) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(section.title, setting.label, setting.values) for section in compared(client, *runs).differing
            for setting in section.settings]


def test_only_what_differs_is_shown_in_the_words_of_the_form(owner_client: Client, team: Team, owner: User) -> None:
    runs = [make_run(team, owner, recipe=recipe)[0] for recipe in (
        demo(), demo(ppo={"steps": 12000}, scalarization={"function": "max_median"}, sft={"enabled": True}))]
    assert differing(owner_client, *runs) == [
        ("Scalarization", "Scalarization", ("linear", "max median")),
        ("Supervised fine-tuning", "Fine-tune first", ("off", "on")),
        ("PPO", "Steps", ("60", "12,000"))]


def test_what_all_share_is_counted_and_folded(owner_client: Client, team: Team, owner: User) -> None:
    runs = [make_run(team, owner, recipe=demo(seed=seed), name=f"seed {seed}")[0] for seed in (1, 2)]
    differences = compared(owner_client, *runs)
    assert [setting.path for section in differences.differing for setting in section.settings] == ["seed"]
    shared = {setting.path: setting.values for section in differences.shared for setting in section.settings}
    assert shared["ppo.kl.target"] == ("2.5", "2.5")
    assert not {"seed", "name", "version"} & shared.keys()
    assert differences.shared_count == len(shared)
    page = owner_client.get(f"/runs/compare/?run={runs[0].pk}&run={runs[1].pk}").content.decode()
    assert f"What all share: {len(shared)} settings" in page


def test_equal_recipes_differ_in_nothing(owner_client: Client, team: Team, owner: User) -> None:
    runs = [make_run(team, owner, name=name)[0] for name in ("one", "two")]
    page = owner_client.get(f"/runs/compare/?run={runs[0].pk}&run={runs[1].pk}").content.decode()
    assert "The recipes are the same in every setting." in page


def test_principles_are_compared_by_name_not_by_place(owner_client: Client, team: Team, owner: User) -> None:
    """One run has another weight of toxicity, and factuality where the other has conciseness."""
    first = demo(principles=[{"name": "toxicity", "weight": 1.0}, {"name": "conciseness", "weight": 2.0}])
    second = demo(principles=[{"name": "factuality", "weight": 0.5}, {"name": "toxicity", "weight": 3.0}])
    runs = [make_run(team, owner, recipe=recipe)[0] for recipe in (first, second)]
    settings = [setting for section in compared(owner_client, *runs).differing for setting in section.settings]
    assert [(setting.principle and setting.principle.name, setting.label, setting.values) for setting in settings] == [
        ("toxicity", "Weight", ("1", "3")), ("conciseness", "Weight", ("2", "not in this run")),
        ("factuality", "Weight", ("not in this run", "0.5"))]


def test_another_wording_of_a_principle_is_a_difference(owner_client: Client, team: Team, owner: User) -> None:
    runs = [make_run(team, owner, recipe=demo(principles=[{"name": "toxicity", "statement": words}]))[0]
            for words in ("kinder", "gentler")]
    assert differing(owner_client, *runs) == [("Principles", "Wording", ("kinder", "gentler"))]


def test_a_measure_is_compared_setting_by_setting(owner_client: Client, team: Team, owner: User) -> None:
    runs = [make_run(team, owner, recipe=demo(principles=[
        {"name": "short", "measure": {"kind": "words", "toward": toward}}]))[0] for toward in ("low", "high")]
    labels = {label: values for _, label, values in differing(owner_client, *runs)}
    assert labels["Measure toward"] == ("low", "high")
    assert "Measure kind" not in labels


def test_a_section_that_one_run_leaves_out_is_said_in_words(owner_client: Client, team: Team, owner: User) -> None:
    runs = [make_run(team, owner, recipe=demo(policy=policy))[0] for policy in (
        {"base": "demo-world"}, {"base": "demo-world", "lora": None})]
    rows = {label: values for _, label, values in differing(owner_client, *runs)}
    assert rows["Trained weights"] == ("a LoRA adapter", "every weight")
    assert rows["LoRA rank"] == ("16", "–")


def test_numbers_that_differ_in_a_late_digit_look_different(owner_client: Client, team: Team, owner: User) -> None:
    runs = [make_run(team, owner, recipe=demo(ppo={"learning_rate": rate}))[0] for rate in (1e-3, 1.0000001e-3)]
    assert differing(owner_client, *runs) == [("PPO", "Learning rate", ("0.001", "0.0010000001"))]


def test_the_dataset_is_a_difference(owner_client: Client, team: Team, owner: User) -> None:
    runs = [make_run(team, owner)[0] for _ in range(2)]
    data = Dataset.objects.create(team=team, name="questions", created_by=owner)
    Run.objects.filter(pk=runs[1].pk).update(dataset=data)
    assert differing(owner_client, *runs) == [("Data", "Dataset", ("–", f"questions (#{data.pk})"))]


def test_a_value_other_than_the_baselines_stands_out(owner_client: Client, team: Team, owner: User) -> None:
    runs = [make_run(team, owner, recipe=demo(seed=seed))[0] for seed in (1, 2, 1)]
    setting = compared(owner_client, *runs).differing[0].settings[0]
    assert setting.cells == [("1", False), ("2", True), ("1", False)]


def test_runs_that_were_judged_otherwise_are_named(owner_client: Client, team: Team, owner: User) -> None:
    """Another seed says nothing of the judging; other prompts do."""
    first, again, other = (make_run(team, owner, recipe=recipe)[0] for recipe in (
        demo(), demo(seed=9), demo(evaluate={"prompts": 20})))
    assert compared(owner_client, first, again).judged_by == []
    assert compared(owner_client, first, other).judged_by == ["Evaluation: Evaluation prompts"]
    worded = [make_run(team, owner, recipe=demo(principles=[
        {"name": "toxicity", "statement": words, "weight": weight}]))[0]
        for words, weight in (("kinder", 1.0), ("gentler", 2.0))]
    assert compared(owner_client, *worded).judged_by == ["toxicity: Wording"], "its weight judges nothing"
    page = owner_client.get(f"/runs/compare/?run={first.pk}&run={other.pk}").content.decode()
    assert "These runs were not judged alike." in page
