"""Whatever text is given as a recipe's YAML, reading it ends soon, in words, and never in another error."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.processes import ROOT, clean_environment
from training.config import Recipe, as_yaml, parse_recipe, read_yaml_text, shipped_recipe
from training.errors import BadSettings


def merge_bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 {x: 1}"]
    for level in range(levels):
        lines.append(f"a{level + 1}: &a{level + 1} {{<<: [{', '.join([f'*a{level}'] * width)}]}}")
    return "\n".join(lines)


BOMBS = {
    "merge keys": merge_bomb(9, 9),
    "aliases": "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}, *{a}]" for a, b in pairwise("abcdefghijkl")),
    "an alias of itself": "a: &a [*a]",
    "deep lists": "[" * 3000,
    "deep mappings": "{a: " * 3000,
    "deep by indentation": "\n".join(" " * level + "- " for level in range(3000)),
    "many values": "x: [" + "1, " * 60_000 + "]",
    "a long text": "name: " + "x" * 300_000,
    "question marks": "? " * 5000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_a_second_of_processor_time(name: str) -> None:
    """In a process of its own, whose processor time and memory the kernel bounds."""
    script = ("import resource, sys\n"
              "from training.config import read_yaml_text\nfrom training.errors import BadSettings\n"
              "text = sys.stdin.read(); resource.setrlimit(resource.RLIMIT_CPU, (3, 3))\n"
              "try: read_yaml_text(text)\nexcept BadSettings as error: print('refused:', error)")
    ended = subprocess.run([sys.executable, "-c", script], input=BOMBS[name], capture_output=True, text=True, cwd=ROOT,
                           env=clean_environment())
    assert ended.stdout.startswith("refused:"), ended.stderr[-500:]


@pytest.mark.parametrize(("text", "words"), [
    ("a: 1\n---\nb: 2", "line 2 a second document"),
    ("seed: !!int abc", "tag"),
    ("x: !!python/object/apply:os.system [ls]", "tag"),
    ("x: !!set {a}", "tag"),
    ("x: !!binary aGVsbG8=", "tag"),
    ("name: a\nname: b", "line 2 the key 'name' stands twice"),
    ("base: {a: 1}\nb:\n  <<: {c: 1}", "line 3 it merges"),
    ("seed: " + "9" * 5000, "a number of 5,000 digits"),
    ("seed: -" + "9" * 5000, "digits"),
    ("? [a, b]\n: c", "a key is a list"),
    ("name: a\x00b", "NUL"),
    ("name: \ud83d", "half of a character"),
    ("a: 'unclosed", "line 1"),
    ("a: b: c", "line 1, column 5"),
    ("\tname: a", "line 1"),
])
def test_what_a_recipe_never_needs_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(BadSettings) as refusal:
        read_yaml_text(text)
    assert words in str(refusal.value)


@pytest.mark.parametrize("text", ["2026-13-45", "2026-01-01T99:99:99", "2026-01-01", "2026-11-26 10:00:00 +99:99",
                                  "0b", "0x", "1_000_", ".e", "12:60:99", "1e999", "0o9", "_", "="])
def test_a_value_that_looks_like_a_date_or_nearly_like_a_number_is_no_error(text: str) -> None:
    assert list(read_yaml_text(f"name: {text}")) == ["name"]
    assert read_yaml_text("name: 2026-13-45") == {"name": "2026-13-45"}


@pytest.mark.parametrize("preset", ["demo", "real_english", "small_gpu", "large_gpu"])
def test_every_preset_reads_back_to_itself(preset: str) -> None:
    recipe: Recipe = shipped_recipe(preset)  # type: ignore[arg-type]
    assert parse_recipe(as_yaml(recipe)) == recipe


def test_a_name_that_looks_like_a_date_reads_back_to_itself() -> None:
    recipe = shipped_recipe("demo").model_copy(update={"name": "2026-01-01"})
    assert parse_recipe(as_yaml(recipe)) == recipe


@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@,?#\n \t0123456789.<=~_x\\"), max_size=60))
def test_any_text_is_a_value_or_a_refusal(text: str) -> None:
    with contextlib.suppress(BadSettings):
        read_yaml_text(text)


@given(st.text(max_size=60))
def test_a_recipe_of_any_text_is_a_recipe_or_a_refusal(text: str) -> None:
    try:
        parse_recipe(text)
    except BadSettings as refusal:
        assert refusal.remedy


@pytest.mark.parametrize(("written", "read"), [
    ("no", "no"), ("Off", "Off"), ("y", "y"), ("010", "010"), ("0o17", "0o17"), ("0x1F", "0x1F"),
    ("12:30:45", "12:30:45"), ("1_000", "1_000"), ("2026-01-01", "2026-01-01"), ("1e5", "1e5"), ("1:30.5", "1:30.5"),
    ("=", "="), ("0b11", "0b11"),
    ("true", True), ("FALSE", False), ("-7", -7), ("+0", 0), ("1.5e-3", 0.0015), (".5", 0.5), ("~", None), ("", None),
    ("'7'", "7"), ("'true'", "true"),
])
def test_a_word_that_looks_like_something_else_in_old_yaml_stays_a_word(written: str, read: object) -> None:
    value = read_yaml_text(f"x: {written}")["x"]
    assert value == read and type(value) is type(read)


def test_fields_read_numbers_and_truths_from_the_text() -> None:
    text = "name: no\nseed: 010\nsft: {enabled: no}\nprinciples: [{name: toxicity}]\n"
    recipe = parse_recipe(text)
    assert (recipe.name, recipe.seed, recipe.sft.enabled) == ("no", 10, False)
    assert parse_recipe(as_yaml(recipe)) == recipe


@pytest.mark.parametrize("field", ["seed: true", "seed: false", "ppo: {steps: true}", "ppo: {learning_rate: true}",
                                   "principles: [{name: toxicity, weight: true}]", "seed: 12:30:45", "seed: 0x1F"])
def test_what_is_no_number_is_none_for_a_field_of_numbers(field: str) -> None:
    with pytest.raises(BadSettings, match="must be a (whole )?number"):
        parse_recipe("name: x\n" + field + ("" if "principles" in field else "\nprinciples: [{name: toxicity}]"))


@pytest.mark.parametrize("escape", ["\\0", "\\x00", "\\u0000", "\\U00000000", "\\ud800", "a\\0b"])
@pytest.mark.parametrize("place", ['name: "{}"', '"{}": 1', 'x: [["{}"]]', 'x: {{"{}": 1}}'])
def test_an_escape_makes_no_character_that_cannot_be_stored(escape: str, place: str) -> None:
    with pytest.raises(BadSettings, match="line 1"):
        read_yaml_text(place.format(escape))
