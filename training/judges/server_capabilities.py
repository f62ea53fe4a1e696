"""How a server is asked: which parameters it takes, as its refusals and replies have shown.

Servers that speak OpenAI's protocol differ in what they take: log-probabilities, several answers per request, a
temperature, the name and size of the longest answer. Each lesson is learnt once, from the words of a refusal whatever
its status, and holds for all requests from then on. Where the words say nothing, `without` lists what may be left out.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from training.config import JudgeSettings
from training.judges.protocol import Reading

TOP = 20  # log-probabilities asked for: what OpenAI gives at most
TOP_OF_SOME = 5  # what some other servers give at most
ROOM = 8  # tokens for "Option B" where answers are read as text
THINKING = 1024  # tokens for a judge that thinks before its letter
ROOMS = (1, ROOM, 16, THINKING, 4 * THINKING, 16 * THINKING)  # tokens of an answer, one after the other
LEAST_ROOM = 256  # a server that takes fewer tokens refuses something else

_LIMITS = ("max_tokens", "max_completion_tokens")
_OPTIONAL = {"logprobs": ("logprobs", "top_logprobs"), "temperature": ("temperature",), "n": ("n",)}

_LOGPROBS = re.compile(r"log[ _-]?prob")
_LIMIT = re.compile(r"max[ _]?(?:completion|output|new|total)?[ _]?tokens|output limit|token limit")
_TOO_SMALL = re.compile(r"at least|too small|too low|too few|minimum|below|higher|increase|greater|was reached|"
                        r"could not finish|>=? ?\d")
_TOO_LARGE = re.compile(r"at most|too large|too high|too many|exceed|less than|"
                        r"maximum (?:allowed|value|context)|<=? ?\d")
_UNKNOWN = re.compile(r"unsupported|support|unknown|unrecognized|unexpected|permitted|instead|allowed|deprecated|extra|"
                      r"invalid|not available")
_SEVERAL = re.compile(r"(?<!\w)n(?!\w)|candidate|best_of|num_return_sequences|"
                      r"(?:multiple|number of|one|single) (?:completion|choice|answer|response|generation)")


@dataclass
class ServerCapabilities:
    """What a server takes.

    Attributes:
        top: log-probabilities to ask for; None once the server has shown that it gives none.
        limit: how it calls the longest answer. temperature: whether it lets one choose it.
        room: tokens of an answer; more than one where a letter comes after "Option", or after thinking.
        several: whether one request may ask for several answers.
        thinks: it thinks before its letter, though nobody said that it may.
        most_room: tokens of an answer that it takes at most.
        required: log-probabilities are not to be given up, whatever the server says.
        answered: it has named a letter. refused_limits: names of the longest answer that it does not know.
    """

    top: int | None = TOP
    limit: str = "max_tokens"
    temperature: bool = True
    room: int = 1
    several: bool = True
    thinks: bool = False
    most_room: int = ROOMS[-1]
    required: bool = False
    answered: bool = False
    refused_limits: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: JudgeSettings) -> ServerCapabilities:
        """How to begin with a server, by `judge.logprobs`."""
        return cls(top=None if settings.logprobs == "no" else TOP, required=settings.logprobs == "yes")

    def body(self, settings: JudgeSettings, text: str, draws: int = 0) -> dict[str, Any]:
        """The request for one question; `draws` answers where log-probabilities cannot be had."""
        least = THINKING if settings.reasoning or self.thinks else 1 if self.top is not None else ROOM
        body: dict[str, Any] = {"model": settings.model, "messages": [{"role": "user", "content": text}],
                                self.limit: min(self.most_room, max(self.room, least))}
        if self.temperature:
            body["temperature"] = 0.0 if self.top is not None else 1.0
        if self.top is not None:
            body["logprobs"], body["top_logprobs"] = True, self.top
        elif draws and self.several:
            body["n"] = draws
        return body

    def learn(self, status: int, refusal: str, body: dict[str, Any]) -> bool:
        """Whether a refused request can be asked in other words, which are then the ones to use from now on.

        `body` is what was refused: many are in flight, and each lesson counts once.
        """
        if status < 400 or status == 429:
            return False
        words = refusal.lower()
        if self._learn_limit(words, body):
            return True
        if _LOGPROBS.search(words) and "top_logprobs" in body:
            if body["top_logprobs"] > TOP_OF_SOME:
                self.top = TOP_OF_SOME if self.top is not None else None
                return True
            if not self.required:
                self.top = None
            return not self.required
        if "temperature" in words and "temperature" in body:
            self.temperature = False
            return True
        if body.get("n", 1) > 1 and _SEVERAL.search(words):
            self.several = False
            return True
        return False

    def _learn_limit(self, words: str, body: dict[str, Any]) -> bool:
        """The same for the longest answer: another name, more tokens, or fewer."""
        if not _LIMIT.search(words):
            return False
        name = next(name for name in _LIMITS if name in body)
        if name == "max_tokens" and "max_completion_tokens" in words and name not in self.refused_limits:
            return self._call_limit("max_completion_tokens", name)
        if _TOO_SMALL.search(words) and (more := self._more_than(body[name])):
            self.room = max(self.room, more)
            return True
        if _TOO_LARGE.search(words) and body[name] > LEAST_ROOM:
            self.most_room = min(self.most_room, max(LEAST_ROOM, body[name] // 2))
            return True
        other_name = _LIMITS[1 - _LIMITS.index(name)]
        if _UNKNOWN.search(words) and other_name not in self.refused_limits:
            return self._call_limit(other_name, name)
        return False

    def _call_limit(self, name: str, instead_of: str) -> bool:
        if instead_of not in self.refused_limits:
            self.limit, self.refused_limits = name, (*self.refused_limits, instead_of)
        return True

    def _more_than(self, room: int) -> int:
        """The next larger room; 0 where there is none."""
        return next((more for more in ROOMS if more > room and more <= self.most_room), 0)

    def accepts(self, reading: Reading, body: dict[str, Any]) -> bool:
        """Whether a reply answers what was asked; if not, the next request is worded otherwise."""
        room = next(body[name] for name in _LIMITS if name in body)
        answers = reading.probability is not None or bool(reading.letters)
        if not answers and not reading.fault and self._grow(reading, room):
            return False
        if "top_logprobs" in body and not reading.fault and reading.drawn and not reading.top and not self.required:
            self.top = None
            return False  # one letter at temperature 0 would say 0 or 1 of what is 0.6
        if reading.truncated and room < ROOM:
            self.room = max(self.room, ROOM)
            return False
        self.answered |= answers
        return True

    def _grow(self, reading: Reading, room: int) -> bool:
        """Whether an answer that was cut off before its letter is given more tokens.

        A judge that thinks gets as many as it takes. One that is merely cut off, and may think unseen, gets them once,
        and only while it has answered nothing: later a long answer is that of one pair, most often a refusal.
        """
        first_time = room < THINKING and (reading.thinking or reading.cut and not reading.top and not self.answered)
        if not (reading.thinking and reading.cut or first_time):
            return False
        more = self._more_than(max(room, THINKING - 1))
        if not more:
            return False
        self.thinks, self.room = True, max(self.room, more)
        return True

    def without(self, body: dict[str, Any], status: int = 400) -> list[tuple[str, ...]]:
        """What may be left out of a request that was refused in words that say nothing, the likeliest first.

        A refusal of the request itself (400, 422) may be of any of them; another status has more likely causes.
        """
        present = [name for name, keys in _OPTIONAL.items() if any(key in body for key in keys)]
        if self.required:
            present = [name for name in present if name != "logprobs"]
        if status not in (400, 422):
            return [("logprobs",)] if "logprobs" in present else []
        return [*((name,) for name in present), *([tuple(present)] if len(present) > 1 else [])]

    def leave_out(self, names: tuple[str, ...]) -> bool:
        """Ask without these from now on."""
        if "logprobs" in names:
            self.top = None
        if "temperature" in names:
            self.temperature = False
        if "n" in names:
            self.several = False
        return True

    def copy(self) -> ServerCapabilities:
        return replace(self)

    def as_asked(self) -> dict[str, Any]:
        """What is different from the beginning, in the order of the fields, and the first four always: two that ask
        alike are equal, and were so before there were others."""
        beginning = ServerCapabilities()
        always = ("top", "limit", "temperature", "room")
        return {name: value for name, value in asdict(self).items()
                if name in always or name not in ("answered", "refused_limits") and value != getattr(beginning, name)}


def stripped(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A request without these parameters."""
    left_out = {key for name in names for key in _OPTIONAL[name]}
    return {key: value for key, value in body.items() if key not in left_out}


def optional_in(body: dict[str, Any]) -> frozenset[str]:
    """The names of the parameters of a request that it could do without."""
    return frozenset(name for name, keys in _OPTIONAL.items() if any(key in body for key in keys))
