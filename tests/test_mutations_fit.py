"""The list of mutations fits the code and the tests: each of its faults can be put in, and is one that can be read."""

from __future__ import annotations

import pytest

from tests.mutants import ROOT, StaleEntry, chosen, mutated
from tests.mutations import MUTATIONS


def test_every_entry_stands_once_in_the_code_and_names_tests_that_are_there() -> None:
    for mutation in MUTATIONS:
        text = mutated(mutation)
        assert text != (ROOT / mutation.file).read_text(encoding="utf-8"), mutation.name
        compile(text, f"{mutation.file}, {mutation.name}", "exec")
        assert mutation.tests and mutation.behaviour, mutation.name


def test_no_two_have_one_name() -> None:
    assert len(chosen([])) == len(MUTATIONS)


def test_a_name_that_none_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(StaleEntry, match="no mutation nothing-of-the-kind; there are .*kl-horizon"):
        chosen(["nothing-of-the-kind"])


def test_an_entry_that_no_longer_fits_is_named() -> None:
    stale = MUTATIONS[0]._replace(name="stale", old="a text that stands nowhere")
    with pytest.raises(StaleEntry, match="stale: .* holds 0 times"):
        mutated(stale)
