"""A judge is its model at its server: one name however the address is written, another for every other server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import JudgeSettings
from training.judges.identity import LONGEST, is_unplaced, judge_name, judge_title, unplaced_name


def server(base_url: str = "", model: str = "local-model") -> JudgeSettings:
    return JudgeSettings(kind="openai", model=model, base_url=base_url)


def test_the_same_model_at_two_servers_is_two_judges() -> None:
    addresses = ["", "https://one.example/v1", "https://two.example/v1", "https://one.example/other/v1",
                 "https://one.example:8443/v1", "http://one.example/v1", "https://one.example"]
    assert len({judge_name(server(address)) for address in addresses}) == len(addresses)


@pytest.mark.parametrize("address", ["https://ONE.example/v1/", "https://one.example.:443/v1",
                                     "HTTPS://one.example/v1//", "https://ｏｎｅ.example/v1"])
def test_an_address_written_otherwise_is_the_same_judge(address: str) -> None:
    assert judge_name(server(address)) == judge_name(server("https://one.example/v1"))


def test_models_whose_long_names_begin_alike_are_two_judges() -> None:
    path = "v" * 150
    names = {judge_name(server(f"https://one.example/{path}", "m" * 190 + end)) for end in ("a", "b")}
    assert len(names) == 2 and all(len(name) <= LONGEST for name in names)


def test_no_address_is_openais() -> None:
    assert judge_name(server()) == judge_name(server("https://API.openai.com/v1"))


def test_pace_account_and_price_are_no_part_of_it() -> None:
    dear = server().model_copy(update={"api_key_env": "OPENAI_API_KEY", "price_in": 1.0, "concurrency": 2})
    assert judge_name(dear) == judge_name(server())


def test_a_judge_without_a_server_keeps_its_name() -> None:
    assert judge_name(JudgeSettings(kind="rule")) == "rule"
    local = JudgeSettings(kind="local", model="/models/qwen", base_url="https://ignored/v1")
    assert judge_name(local) == "local:/models/qwen"


@given(st.text("ab@/:.", min_size=1, max_size=200), st.sampled_from(["v1", "v" * 470]), st.integers(1, 3))
def test_every_name_fits_its_column_and_no_two_judges_share_one(model: str, path: str, host: int) -> None:
    names = [judge_name(server(f"https://host{number}.example/{path}", model)) for number in (host, host + 1)]
    assert len(set(names)) == 2 and all(len(name) <= LONGEST and not is_unplaced(name) for name in names)
    assert all(f"host{host + place}.example" in judge_title(name) for place, name in enumerate(names))


@pytest.mark.parametrize(("judge", "title"), [
    (server("", "gpt-4o-mini"), "gpt-4o-mini at api.openai.com"),
    (server("http://gpu:8000/v1"), "local-model at gpu:8000"),
    (server("https://one.example/proxy/v1", "@cf/meta/llama"), "@cf/meta/llama at one.example/proxy"),
    (server("http://plain.example/v1"), "local-model at http://plain.example"),
    (JudgeSettings(kind="local", model="qwen"), "qwen on the workers’ machine"), (JudgeSettings(), "rule")])
def test_pages_show_the_model_and_its_host(judge: JudgeSettings, title: str) -> None:
    assert judge_title(judge_name(judge)) == title


def test_a_name_from_before_servers_were_noted_is_known_as_such() -> None:
    old = unplaced_name(server())
    assert is_unplaced(old) and judge_title(old) == "local-model at an unknown server"
    assert not any(is_unplaced(name) for name in ("rule", "local:qwen", judge_name(server())))


def test_an_address_that_is_none_still_has_a_name() -> None:
    assert judge_name(server("http://[::1")) == "openai:local-model@http://[::1"
