"""The runs of a team that a query in words and a status leave; what cannot be answered is said, not raised."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from django.db.models import Count, Q, QuerySet

from webapp.accounts.models import Team
from webapp.runs.models import Run, RunTag, RunValue
from webapp.runs.table.fields import OWN, Fields, UnknownField, moment, number
from webapp.runs.table.grammar import Comparison, Flag, Labelled, Term, Word, parse
from webapp.runs.waiting import places

ARCHIVED = "archived"  # a filter of the list: runs that are otherwise left out
QUEUED = "queued"  # a filter of the list beside the statuses of runs: those of which no stage is at work
PAUSED = "paused"
STATUSES = {"done": Run.Status.SUCCEEDED, **{str(status): status for status in Run.Status}}
LONGEST = 1000  # characters of a query
NUMBERS = {"=": "exact", "!=": "exact", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
SWITCH = {"true": "on", "yes": "on", "false": "off", "no": "off"}


class Unanswerable(ValueError):
    """A term that is read and cannot be answered; its text says why and what can be written."""


class Filtered(NamedTuple):
    """The runs that match, newest first, and a sentence for each part of the query that was left out."""

    runs: QuerySet[Run]
    problems: list[str]


def filtered(team: Team, fields: Fields, query: str, status: str) -> Filtered:
    """Archived runs only where they are asked for, by the status or by the flag."""
    runs = Run.objects.of(team)
    problems: list[str] = []
    if len(query) > LONGEST:
        problems.append(f"The query has {len(query):,} characters; only the first {LONGEST:,} were read. Shorten it.")
    terms, unread = parse(query[:LONGEST])
    problems.extend(unread)
    if not any(isinstance(term, Flag) and term.name == ARCHIVED for term in terms):
        runs = runs.filter(archived=status == ARCHIVED)
    if status == QUEUED or status in Run.Status.values:
        runs = runs.filter(_status(status))
    for term in terms:
        try:
            condition = _condition(team, fields, term)
        except (Unanswerable, UnknownField) as problem:
            problems.append(str(problem))
            continue
        runs = runs.exclude(condition) if term.negated else runs.filter(condition)
    return Filtered(runs, problems)


def _condition(team: Team, fields: Fields, term: Term) -> Q:
    if isinstance(term, Word):
        tagged = RunTag.objects.filter(run__team=team, name__icontains=term.text)
        return Q(name__icontains=term.text) | Q(note__icontains=term.text) | Q(pk__in=tagged.values("run"))
    if isinstance(term, Flag):
        return Q(**{term.name: True})
    if isinstance(term, Labelled):
        return _labelled(team, fields, term)
    name = fields.resolve(term.path)
    return _own(team, fields, name, term) if name in OWN else _value(fields.keys.get(name), name, term)


def _labelled(team: Team, fields: Fields, term: Labelled) -> Q:
    if term.label == "tag":
        return Q(pk__in=RunTag.objects.filter(run__team=team, name=term.value.lower()).values("run"))
    if term.label == "by":
        return Q(created_by__username__iexact=term.value)
    if term.label == "status":
        return _status(term.value.lower())
    principle = {name.lower(): name for name in fields.principles}.get(term.value.lower())
    if principle is None:
        known = ", ".join(fields.principles[:12]) or "none yet"
        raise Unanswerable(f"No run has a principle {term.value[:60]!r}. Principles of runs: {known}.")
    return Q(pk__in=RunValue.objects.filter(field=fields.keys[f"principles.{principle}.weight"]).values("run"))


def _status(value: str) -> Q:
    if value == QUEUED:
        return Q(pk__in=list(places()))
    if value == PAUSED:
        return Q(paused=True, status=Run.Status.RUNNING)
    if value == ARCHIVED:
        return Q(archived=True)
    if value not in STATUSES:
        raise Unanswerable(f"status:{value[:40]} is no status. Write one of {', '.join([QUEUED, PAUSED, *STATUSES])}.")
    return Q(status=STATUSES[value])


def _own(team: Team, fields: Fields, name: str, term: Comparison) -> Q:
    """A comparison of a field that is the run's own."""
    if name in ("name", "note"):
        condition = Q(**{f"{name}__{'icontains' if term.operator == '~' else 'iexact'}": term.value})
        if term.operator not in ("=", "!=", "~"):
            raise Unanswerable(f"{_shown(term)}: a {name} has no order. Use =, != or ~.")
        return ~condition if term.operator == "!=" else condition
    if name == "started":
        return _started(term)
    if name == "seeds" and "settings" in fields.keys:
        of_settings = RunValue.objects.filter(field=fields.keys["settings"])
        count = {f"count__{NUMBERS.get(term.operator, 'exact')}": _number(name, term)}
        texts = of_settings.order_by().values("text").annotate(count=Count("pk")).filter(**count).values("text")
        condition = Q(pk__in=of_settings.filter(text__in=texts).values("run"))
        return ~condition if term.operator == "!=" else condition
    write = {"status": "status:failed", "by": "by:anna", "tags": "tag:paper", "principles": "principle:toxicity"}
    raise Unanswerable(f"{_shown(term)} cannot be compared. Write {write.get(name, 'reward>1')}.")


def _started(term: Comparison) -> Q:
    try:
        when = moment(term.value)
    except ValueError:
        raise Unanswerable(f"{_shown(term)}: {term.value[:40]!r} is no date. Write one such as 2026-11-20.") from None
    end = when + timedelta(days=1) if len(term.value.strip()) <= 10 else when  # a date is its whole day
    conditions = {"=": Q(created_at__gte=when, created_at__lt=end), ">": Q(created_at__gte=end),
                  ">=": Q(created_at__gte=when), "<": Q(created_at__lt=when), "<=": Q(created_at__lt=end)}
    if term.operator not in conditions:
        raise Unanswerable(f"{_shown(term)}: compare a date by =, <, <=, > or >=.")
    return conditions[term.operator]


def _value(field: int | None, name: str, term: Comparison) -> Q:
    """A comparison with what runs have under a name. `!=` is true of runs that have another value, `=none` of those
    that have none. Without a key no run has any."""
    values = RunValue.objects.filter(field=field)
    if term.operator == "~":
        return Q(pk__in=values.filter(text__icontains=term.value).values("run"))
    if term.operator in ("=", "!="):
        text = SWITCH.get(term.value.lower(), term.value)
        equal = Q(text__iexact=text) | Q(text__iexact=term.value)
        with suppress(ValueError):
            equal |= Q(number=number(name, term.value))
        if term.operator == "!=":
            return Q(pk__in=values.exclude(equal).values("run"))
        absent = ~Q(pk__in=values.values("run")) if term.value.lower() == "none" else Q(pk__in=[])
        return absent | Q(pk__in=values.filter(equal).values("run"))
    condition = {f"number__{NUMBERS[term.operator]}": _number(name, term)}
    return Q(pk__in=values.filter(**condition).values("run"))


def _number(name: str, term: Comparison) -> float:
    try:
        return number(name, term.value)
    except (ValueError, OverflowError):
        example = "2h" if name == "duration" else "0.6"
        raise Unanswerable(f"{_shown(term)}: {term.value[:40]!r} is no number. Write one such as {example}.") from None


def _shown(term: Comparison) -> str:
    return f"{term.path}{term.operator}{term.value}"[:60]
