"""How much a text says and how easily it reads: its words, sentences and reading ease.

Words are those of languages that put spaces between them: a run of Chinese or Japanese is one word. Syllables are
those of English, by rule.
"""

from __future__ import annotations

import re
import unicodedata

LEAST_EASE = -100.0
"""A single endless word would have an ease of minus millions, which outweighs all other responses in a mean."""

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*(?=\s|$)|(?<=[。！？])")
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT_END = re.compile(r"(?:(?<![^aeiouy]l)e|(?<![td])ed|(?<![sxzcg])(?<!ch)(?<!sh)es)$")


def words_of(text: str) -> list[str]:
    """The words of a text: letters and digits, with apostrophes and hyphens inside.

    >>> words_of("Don't stop: a well-known 3.5 🙂")
    ["Don't", 'stop', 'a', 'well-known', '3', '5']
    """
    return _WORD.findall(text)


def words(text: str) -> float:
    """The number of words (`words_of`)."""
    return float(len(words_of(text)))


def sentences(text: str) -> float:
    """The number of sentences: stretches with a word in them that end in . ! ? … before white space, in 。！？, or
    with the text.

    An abbreviation before a space ("Dr. Who") counts as an end, a period inside a number or a name does not.
    """
    return float(sum(_WORD.search(part) is not None for part in SENTENCE_END.split(text)))


def reading_ease(text: str) -> float:
    """Flesch's reading ease: 206.835 - 1.015 words / sentences - 84.6 syllables / words, and at least LEAST_EASE.

    About 90 is easy for a child of eleven, 60 is plain English, 30 is for graduates; the highest is 121.2. A text
    without words has 0. Source: R. Flesch, "A new readability yardstick", Journal of Applied Psychology 32 (1948).
    Our own, since the package textstat brings nltk and downloads a pronouncing dictionary when it runs.
    """
    tokens = words_of(text)
    if not tokens:
        return 0.0
    total = sum(map(syllables, tokens))
    return max(LEAST_EASE, 206.835 - 1.015 * len(tokens) / sentences(text) - 84.6 * total / len(tokens))


def syllables(word: str) -> int:
    """Syllables of an English word by rule: groups of vowels, without a silent e, ed or es at the end; at least 1.

    >>> [syllables(word) for word in ("make", "table", "jumped", "wanted", "boxes", "idea", "42")]
    [1, 2, 1, 2, 2, 2, 1]
    """
    plain = unicodedata.normalize("NFKD", word.lower())
    groups = len(_VOWELS.findall(plain))
    return max(1, groups - (_SILENT_END.search(plain[-6:]) is not None))
