"""The words of the search box: what is read, what is said of a word that cannot be, and that writing undoes reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.runs.table.grammar import (
    FLAGS,
    LABELS,
    OPERATORS,
    Comparison,
    Flag,
    Labelled,
    Term,
    Word,
    format_query,
    parse,
)

texts = st.text(min_size=1, max_size=12)
signs = st.text(alphabet='ab-:=<>!~"\\ .', min_size=1, max_size=8)
anything = texts | signs
terms: st.SearchStrategy[Term] = st.one_of(
    st.builds(Word, anything, st.booleans()),
    st.builds(Labelled, st.sampled_from(LABELS), anything, st.booleans()),
    st.builds(Flag, st.sampled_from(FLAGS), st.booleans()),
    st.builds(Comparison, anything, st.sampled_from(OPERATORS), anything, st.booleans()))


@given(st.lists(terms, max_size=5))
def test_what_is_written_is_read_as_the_same(written: list[Term]) -> None:
    parsed = parse(format_query(written))
    assert parsed.problems == ()
    assert list(parsed.terms) == written


@given(st.text(max_size=60) | signs)
def test_no_text_breaks_it_and_reading_twice_changes_nothing(query: str) -> None:
    terms, _ = parse(query)
    assert parse(format_query(terms)).terms == terms


def test_the_example_of_the_help_is_read() -> None:
    parsed = parse('scalarization=linear kl.target>2 tag:paper principle:toxicity status:failed by:anna -archived '
                   '"some words" win>0.6 kl<8 lr>=1e-5')
    assert parsed.problems == ()
    assert parsed.terms == (
        Comparison("scalarization", "=", "linear"), Comparison("kl.target", ">", "2"), Labelled("tag", "paper"),
        Labelled("principle", "toxicity"), Labelled("status", "failed"), Labelled("by", "anna"),
        Flag("archived", negated=True), Word("some words"), Comparison("win", ">", "0.6"), Comparison("kl", "<", "8"),
        Comparison("lr", ">=", "1e-5"))


@pytest.mark.parametrize(("query", "term"), [
    ("-first", Word("first", negated=True)),
    ('"-first"', Word("-first")),
    ("-", Word("-")),
    ('"archived"', Word("archived")),
    ("win>-0.5", Comparison("win", ">", "-0.5")),
    ('note="a b"', Comparison("note", "=", "a b")),
    ("a!=b", Comparison("a", "!=", "b")),
    ('-TAG:"a b"', Labelled("tag", "a b", negated=True)),
])
def test_quotes_and_minus_mean_what_they_say(query: str, term: Term) -> None:
    assert parse(query) == ((term,), ())


@pytest.mark.parametrize(("query", "says"), [
    ("label:x", "there is no 'label' before a colon"),
    ("tag:", "no value after the colon"),
    ("kl>", "no value after >"),
    (">2", "no field before >"),
    ("kl!2", "has a ! that no = follows"),
    ('"open', "A quote is not closed"),
    ('""', "An empty word"),
])
def test_a_word_that_cannot_be_read_is_named_and_the_rest_stays(query: str, says: str) -> None:
    terms, problems = parse(f"blue {query}")
    assert Word("blue") in terms
    assert len(problems) == 1 and says in problems[0]
