"""A dataset is imported by its id from a hub: really over HTTP, from a server that answers as the hub does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_hub import FakeHub, fake_hub
from webapp.accounts.models import Team, User
from webapp.datasets import services
from webapp.datasets.models import Dataset, DatasetText

CARD = b"""---
configs:
- config_name: ratings
  data_files:
  - {split: train, path: ratings/train.jsonl}
  - {split: validation, path: ratings/validation.jsonl}
- config_name: preference
  data_files:
  - {split: train, path: preference/train.jsonl}
---
# Towns
"""


def lines(*records: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(record).encode() for record in records)


def rated(split: str) -> bytes:
    """HelpSteer's layout: two rated responses to each of five prompts."""
    return lines(*({"prompt": f"Which lake is {split} {n // 2}?", "response": f"Lake {n}.", "helpfulness": 4 - n % 2,
                    "correctness": n % 2, "coherence": 4, "complexity": 1, "verbosity": 1} for n in range(10)))


def preferred() -> bytes:
    """HelpSteer3's layout."""
    return lines(*({"domain": "general", "language": "english", "context": [{"role": "user", "content": f"Mill {n}?"}],
                    "response1": "Odo.", "response2": "The wind.", "overall_preference": n % 7 - 3,
                    "individual_preference": []} for n in range(10)))


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        hub.files["towns/lakes"] = {
            "README.md": CARD, "ratings/train.jsonl": rated("train"), "ratings/validation.jsonl": rated("validation"),
            "preference/train.jsonl": preferred()}
        yield hub


def imported(team: Team, owner: User, hub_id: str, split: str) -> Dataset:
    dataset = services.dataset_from_hub(team=team, user=owner, name="lakes", hub_id=hub_id, split=split)
    services.dataset_import(dataset_id=dataset.pk)
    dataset.refresh_from_db()
    return dataset


def test_a_configuration_and_a_split_are_imported_with_their_ratings(team: Team, owner: User, hub: FakeHub) -> None:
    dataset = imported(team, owner, "towns/lakes", "ratings/validation")
    assert (dataset.status, dataset.error, dataset.rows_good, dataset.rows_bad) == ("ready", "", 5, 0)
    assert dataset.aspects == dict.fromkeys(
        ("helpfulness", "correctness", "coherence", "complexity", "verbosity"), 5)
    first = DatasetText.objects.filter(row__dataset=dataset).select_related("row__rated").earliest("row__number")
    assert first.prompt == [{"role": "user", "content": "Which lake is validation 0?"}]
    assert (first.chosen, first.rejected) == ("Lake 0.", "Lake 1.")
    assert first.row.rated.ratings["correctness"] == [0, 1]
    read = {path for _, path, status in hub.asked if path.endswith(".jsonl") and status < 300}
    assert read and not any("/preference/" in path for path in read)  # nothing of the other configuration


def test_another_configuration_is_another_layout(team: Team, owner: User, hub: FakeHub) -> None:
    dataset = imported(team, owner, "towns/lakes", "preference/train")
    assert (dataset.status, dataset.rows_good, dataset.aspects) == ("ready", 10, {"overall_preference": 10})


def test_without_a_card_the_split_alone_is_enough(team: Team, owner: User, hub: FakeHub) -> None:
    hub.files["towns/mills"] = {"train.jsonl": preferred()}
    assert imported(team, owner, "towns/mills", "train").rows_good == 10


@pytest.mark.parametrize(("hub_id", "split", "error"), [
    ("towns/lakes", "train", "it has several configurations; name one before the split, as in 'NAME/train' "
                             "(ratings, preference)"),
    ("towns/lakes", "ratings/test", "split 'ratings/test'"),
    ("towns/birds", "train", "no dataset 'towns/birds' that may be read without signing in")])
def test_what_the_hub_does_not_have_is_said_with_a_way_out(
        team: Team, owner: User, hub: FakeHub, hub_id: str, split: str, error: str) -> None:
    dataset = imported(team, owner, hub_id, split)
    assert dataset.status == "failed" and error in dataset.error
    assert "Check its name, the split and the network, or upload it as a file." in dataset.error


def test_a_private_one_is_read_with_the_servers_token_only(
        team: Team, owner: User, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files["towns/secret"], hub.tokens["towns/secret"] = {"train.jsonl": preferred()}, "hf_open_sesame"
    assert "without signing in" in imported(team, owner, "towns/secret", "train").error
    monkeypatch.setenv("HF_TOKEN", "hf_open_sesame")
    assert imported(team, owner, "towns/secret", "train").rows_good == 10
