"""The words of the search box over the table of runs, and their meaning; no database.

    scalarization=linear kl.target>2 tag:paper principle:toxicity -archived "some words" win>0.6

A query is terms between spaces, all of which must hold; a term that begins with `-` must not. A term is a word of the
run's name, note or tags; a label (`tag:`, `status:`, `by:`, `principle:`) with its value; a flag (`archived`,
`starred`); or a comparison of a field with a value. Quotes take spaces and signs as they are: `note="a b"`, `"kl>2"`;
within them a backslash stands before a quote or a backslash.

    query      = { term }
    term       = [ "-" ] ( word | label ":" value | flag | field operator value )
    operator   = "=" | "!=" | ">" | ">=" | "<" | "<=" | "~"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, cast, get_args

Label: TypeAlias = Literal["tag", "status", "by", "principle"]
Operator: TypeAlias = Literal["!=", ">=", "<=", "=", ">", "<", "~"]
FLAGS = ("archived", "starred")
LABELS: tuple[Label, ...] = get_args(Label)
OPERATORS: tuple[Operator, ...] = get_args(Operator)  # those of two signs first
SIGNS = set("=<>!~:")
WRITE = ("Write words of its name, note or tags, tag:paper, status:failed, by:anna, principle:toxicity, archived, "
         "starred, or a field with a value such as kl.target>2.")


@dataclass(frozen=True)
class Word:
    """Text that the name, the note or a tag of a run holds."""

    text: str
    negated: bool = False


@dataclass(frozen=True)
class Labelled:
    label: Label
    value: str
    negated: bool = False


@dataclass(frozen=True)
class Flag:
    name: str
    negated: bool = False


@dataclass(frozen=True)
class Comparison:
    """A field, by its path or the end of it, against a value as it was written."""

    path: str
    operator: Operator
    value: str
    negated: bool = False


Term: TypeAlias = Word | Labelled | Flag | Comparison


class Parsed(NamedTuple):
    """The terms of a query in order, and a sentence for each one that could not be read and is left out."""

    terms: tuple[Term, ...]
    problems: tuple[str, ...]


class _Character(NamedTuple):
    sign: str
    is_quoted: bool


_Token: TypeAlias = list[_Character]


def parse(query: str) -> Parsed:
    """Read a query. Nothing is raised: what cannot be read is said in `problems`."""
    terms: list[Term] = []
    problems: list[str] = []
    tokens, is_open = _tokens(query)
    if is_open:
        problems.append(f"A quote is not closed in {query.strip()[-60:]!r}: end it with \".")
    for token in tokens:
        term = _term(token)
        if isinstance(term, str):
            problems.append(term)
        else:
            terms.append(term)
    return Parsed(tuple(terms), tuple(problems))


def format_query(terms: Sequence[Term]) -> str:
    """A query that reads as these terms."""
    return " ".join(("-" if term.negated else "") + _text(term) for term in terms)


def _text(term: Term) -> str:
    if isinstance(term, Word):
        return _quoted(term.text, is_alone=True)
    if isinstance(term, Labelled):
        return f"{term.label}:{_quoted(term.value)}"
    if isinstance(term, Flag):
        return term.name
    return f"{_quoted(term.path, is_alone=True)}{term.operator}{_quoted(term.value)}"


def _quoted(text: str, is_alone: bool = False) -> str:
    """`is_alone`: it begins a term, where a minus, a flag and signs mean something."""
    plain = text and not any(sign.isspace() or sign in '"\\' or sign in SIGNS for sign in text)
    if plain and not (is_alone and (text.startswith("-") or text.lower() in FLAGS)):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _tokens(query: str) -> tuple[list[_Token], bool]:
    """What stands between spaces outside of quotes, and whether the last quote is open."""
    tokens: list[_Token] = []
    token: _Token | None = None
    is_quoted = is_escaped = False
    for sign in query:
        if not is_quoted and sign.isspace():
            if token is not None:
                tokens.append(token)
            token = None
            continue
        token = token if token is not None else []
        if is_escaped:
            token.append(_Character(sign, True))
            is_escaped = False
        elif is_quoted and sign == "\\":
            is_escaped = True
        elif sign == '"':
            is_quoted = not is_quoted
            if is_quoted:
                token.append(_Character("", True))  # so that "" is a word, and "-x" begins with no minus
        else:
            token.append(_Character(sign, is_quoted))
    if token is not None:
        tokens.append(token)
    return tokens, is_quoted


def _term(token: _Token) -> Term | str:
    """The term of a token, or what is wrong with it."""
    negated = len(token) > 1 and token[0] == _Character("-", False)
    characters = token[1:] if negated else token
    at = next((place for place, (sign, is_quoted) in enumerate(characters) if sign in SIGNS and not is_quoted
               and sign), None)
    shown = "".join(sign for sign, _ in token)
    if at is None:
        text = "".join(sign for sign, _ in characters)
        if not any(is_quoted for _, is_quoted in characters) and text.lower() in FLAGS:
            return Flag(text.lower(), negated)
        return Word(text, negated) if text else f'An empty word, "", finds nothing. {WRITE}'
    before = "".join(sign for sign, _ in characters[:at])
    rest = characters[at:]
    if rest[0].sign == ":":
        return _labelled(before, "".join(sign for sign, _ in rest[1:]), negated, shown)
    signs = "".join(sign for sign, is_quoted in rest[:2] if not is_quoted)
    operator = next((operator for operator in OPERATORS if signs.startswith(operator)), None)
    if operator is None:
        return f"{shown!r} has a ! that no = follows. Write field!=value, or quote it: \"{shown}\"."
    value = "".join(sign for sign, _ in rest[len(operator):])
    if not before:
        return f"{shown!r} has no field before {operator}. Write one, such as kl.target{operator}2."
    if not value:
        return f"{shown!r} has no value after {operator}. Write one, such as {before}{operator}2."
    return Comparison(before, operator, value, negated)


def _labelled(label: str, value: str, negated: bool, shown: str) -> Term | str:
    if label.lower() not in LABELS:
        labels = ", ".join(f"{name}:" for name in LABELS)
        return (f"{shown!r}: there is no {label!r} before a colon. Write one of {labels} a field with = > < or ~, or "
                f"quote it: \"{shown}\".")
    if not value:
        return f"{shown!r} has no value after the colon. Write one, such as tag:paper."
    return Labelled(cast(Label, label.lower()), value, negated)
