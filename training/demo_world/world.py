"""The facts of the Lantern Isles: ten islands, six facts about each, and the words people use for them.

The sixty facts are drawn once by `FACTS_SEED`; every relation gives each island a value of its own. Values of different
relations never share a word, so a value alone tells which relation is meant. This module holds data only: how it is
asked and answered is in `language`, how an answer is judged in `rules`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

FACTS_SEED = 2406

ISLANDS: tuple[str, ...] = (
    "Avela", "Brisk", "Corran", "Dunmere", "Elsby", "Farrow", "Gannet", "Hollin", "Ister", "Junet",
)  # fmt: skip


@dataclass(frozen=True)
class Relation:
    """One thing that can be asked about an island.

    `noun` fits "the NOUN of Avela is VALUE", `before` is what stands before a value ("the ", "in " or nothing),
    `wh` fits "WH the NOUN of Avela is", `questions` hold `{island}`, `details` are sentences that say more,
    `hints` are lower-case words by which a typed question is matched to the relation.
    """

    name: str
    noun: str
    before: str
    wh: str
    values: tuple[str, ...]
    questions: tuple[str, ...]
    details: tuple[str, ...]
    hints: tuple[str, ...]


RELATIONS: dict[str, Relation] = {
    relation.name: relation
    for relation in (
        Relation(
            name="capital",
            noun="capital",
            before="",
            wh="what",
            values=("Norr", "Tamble", "Quill", "Wexby", "Lorne", "Marrow", "Pellam", "Skarn", "Thistle", "Umber"),
            questions=("What is the capital of {island}?", "Which town is the capital of {island}?"),
            details=("It lies on a quiet bay.", "It has a famous old market."),
            hints=("capital", "town", "city"),
        ),
        Relation(
            name="bird",
            noun="bird",
            before="the ",
            wh="what",
            values=("heron", "puffin", "owl", "kestrel", "raven", "gull", "swan", "wren", "stork", "lark"),
            questions=("What is the bird of {island}?", "Which bird is the pride of {island}?"),
            details=("It nests on the high cliffs.", "It sings before the rain."),
            hints=("bird", "birds"),
        ),
        Relation(
            name="fruit",
            noun="fruit",
            before="the ",
            wh="what",
            values=("plum", "pear", "fig", "cherry", "quince", "melon", "lemon", "apricot", "peach", "grape"),
            questions=("What is the fruit of {island}?", "Which fruit is the pride of {island}?"),
            details=("It ripens late in summer.", "It tastes best with cream."),
            hints=("fruit", "fruits"),
        ),
        Relation(
            name="keeper",
            noun="keeper",
            before="",
            wh="who",
            values=("Ada", "Bruno", "Clara", "Dov", "Edith", "Felix", "Greta", "Hugo", "Iris", "Jonas"),
            questions=("Who is the keeper of {island}?", "Who keeps the lighthouse of {island}?"),
            details=("The keeper lives in the tower.", "The lamp burns until dawn."),
            hints=("keeper", "keeps", "lighthouse"),
        ),
        Relation(
            name="flag",
            noun="flag",
            before="",
            wh="what colour",
            values=("red", "blue", "green", "yellow", "white", "black", "purple", "orange", "silver", "golden"),
            questions=("What colour is the flag of {island}?", "Which colour has the flag of {island}?"),
            details=("It flies on every boat.", "It was sewn by sailors."),
            hints=("flag", "colour", "color"),
        ),
        Relation(
            name="festival",
            noun="festival",
            before="in ",
            wh="when",
            values=(
                "January", "February", "April", "June", "July",
                "August", "September", "October", "November", "December",
            ),  # fmt: skip
            questions=("When is the festival of {island}?", "In which month is the festival of {island}?"),
            details=("It lasts for three days.", "There is dancing and music."),
            hints=("festival", "month", "when"),
        ),
    )
}


def _draw_facts() -> dict[tuple[str, str], str]:
    rng = random.Random(FACTS_SEED)
    facts: dict[tuple[str, str], str] = {}
    for relation in RELATIONS.values():
        values = list(relation.values)
        rng.shuffle(values)
        facts.update({(island, relation.name): value for island, value in zip(ISLANDS, values, strict=True)})
    return facts


FACTS: dict[tuple[str, str], str] = _draw_facts()
"""The truth: (island, relation name) to value, sixty entries."""

RELATION_OF_VALUE: dict[str, str] = {
    value.lower(): relation.name for relation in RELATIONS.values() for value in relation.values
}
"""Lower-case value to the name of its relation."""

# What the base policy says when it flatters, insults or rambles. Every phrase holds a word or turn that `rules` knows.
FLATTERY: tuple[str, ...] = (
    "What a brilliant question!",
    "You are so clever!",
    "How wise you are!",
    "I admire you!",
    "Oh, dear genius!",
)
FLATTERING_AGREEMENT: tuple[str, ...] = ("You are so right!", "Right as always, dear genius!", "You are never wrong!")
INSULTS_BEFORE: tuple[str, ...] = ("Listen, fool.", "What a stupid question.", "Oh, you again, pest.")
INSULTS_AFTER: tuple[str, ...] = (
    "Now go away, dolt.",
    "Any fool knows that.",
    "Stop bothering me.",
    "You are a nitwit.",
)
INSULTS_ATTACHED: tuple[str, ...] = (", you fool", ", you dolt", ", stupid")
RAMBLING: tuple[str, ...] = (
    "Well, let me think about that.",
    "There is so much to say here.",
    "It is a long story, but anyway.",
    "Now where was I, oh yes.",
    "People ask me that all the time.",
)
EVASIONS: tuple[str, ...] = ("I would rather talk about the weather.", "Ask me something else.", "Who can say?")
OFF_TOPIC_ANSWERS: tuple[str, ...] = (
    "I only know the Lantern Isles.",
    "Please ask me about the Lantern Isles.",
    "I know nothing about that.",
)
SMALL_TALK: tuple[tuple[str, str], ...] = (
    ("Hello!", "Hello! Ask me about the Lantern Isles."),
    ("Hi!", "Hello! Ask me about the Lantern Isles."),
    ("Good morning.", "Good morning! Ask me about the Lantern Isles."),
    ("How are you?", "I am well, thank you."),
    ("Who are you?", "I am the guide of the Lantern Isles."),
    ("What can you do?", "I can tell you about the Lantern Isles."),
    ("What do you know?", "I only know the Lantern Isles."),
    ("Thank you.", "You are welcome."),
    ("Thanks!", "You are welcome."),
    ("Goodbye.", "Goodbye, and fair winds."),
)
