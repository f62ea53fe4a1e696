"""What docs/writing.md asks of every text that a person reads, as far as a test can see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT
from webapp.runs.form.recipe_fields import SECTIONS, specs

COUNTED = "requests|tokens|rollouts|dollars|steps|calls|pairs|samples|seconds|nats|labels|answers|words"
UNITS = "minute|hour|second|day|step|token|epoch|principle|phase|response|prompt|call|request|million"
RATE = re.compile(rf"\b(?:{COUNTED}) an? (?:{UNITS})\b", re.IGNORECASE)
OLD = re.compile(r"could not be had|cannot be told|labels there|nothing has been said|\bwhoever\b|\bshall\b|"
                 r"turned round|\bsimply\b|is no trouble|of that name\b|the name says|\bdata sets?\b", re.IGNORECASE)
SPACED_PERCENT = re.compile(r"\d %(?![}\d])")
TAGS = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL)


def pages() -> Iterator[tuple[str, str]]:
    """Every template's name and the words that it shows."""
    for path in sorted((ROOT / "templates").rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        shown = " ".join(re.findall(r'(?:title|placeholder|aria-label)="([^"{]+)"', text))
        yield str(path.relative_to(ROOT)), TAGS.sub(" ", text) + " " + shown


def texts() -> Iterator[tuple[str, str]]:
    """Pages, the form's own texts, and the glossary."""
    yield from pages()
    for spec in specs().values():
        yield spec.path, f"{spec.label}. {spec.help} {' '.join(words for _, words in spec.choices)}"
    for section in SECTIONS:
        yield section.key, f"{section.title}. {section.intro}"
    yield "docs/glossary.md", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("rule", "name"), [(RATE, "“per” for a rate"), (OLD, "words of today"),
                                            (SPACED_PERCENT, "81%, without a space")])
def test_a_rule_of_writing_holds_on_every_page(rule: re.Pattern[str], name: str) -> None:
    broken = [f"{place}: …{text[max(0, match.start() - 30):match.end() + 20]}…"
              for place, text in texts() for match in rule.finditer(text)]
    assert not broken, f"{name}:\n" + "\n".join(broken)


def test_help_begins_with_a_capital_and_does_not_repeat_its_label() -> None:
    lower = [spec.path for spec in specs().values() if spec.help and spec.help[0].islower()
             and not re.match(r"[a-z_]+(?: and [a-z_]+)?[:,]", spec.help)]
    repeated = [spec.path for spec in specs().values() if spec.help.strip(". ").lower() == spec.label.lower()]
    assert lower == [] and repeated == []


@pytest.mark.parametrize("text", ["40 tokens a minute", "Rollouts a step", "dollars a million tokens",
                                  "it could not be had", "95 % interval", "Choose a data set"])
def test_the_rules_find_what_they_are_for(text: str) -> None:
    assert any(rule.search(text) for rule in (RATE, OLD, SPACED_PERCENT))


def test_the_page_of_rules_has_ten() -> None:
    rules = re.findall(r"^(\d+)\. ", Path(ROOT / "docs" / "writing.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rules == [str(number) for number in range(1, 11)]
