"""A server's capabilities: which parameters it accepts, as its refusals and replies have shown.

Servers that speak OpenAI's protocol differ in what they accept: log-probabilities, several answers per request, a
temperature, the name and size of the token limit. Each is learnt once, from the message of a refusal of any status, and
holds for all later requests. Where the message names no parameter, `without` lists what may be left out.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from training.config import JudgeSettings
from training.judges.protocol import Reading

TOP = 20  # log-probabilities asked for: what OpenAI gives at most
TOP_OF_SOME = 5  # what some other servers give at most
LETTER_TOKENS = 8  # tokens for "Option B" where answers are read as text
THINKING = 1024  # tokens for a judge that thinks before its letter
TOKEN_LIMITS = (1, LETTER_TOKENS, 16, THINKING, 4 * THINKING, 16 * THINKING)  # token limits, tried in this order
LEAST_TOKENS = 256  # a server that accepts fewer tokens refuses for another reason

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
    """What a server accepts. Some fields are hashed into the idempotency keys of batches: see `as_asked`.

    Attributes:
        top: log-probabilities to ask for; None once the server has shown that it gives none.
        limit: its name for the token limit. temperature: whether it accepts a temperature.
        room: the token limit; more than one where a letter comes after "Option", or after thinking.
        several: whether one request may ask for several answers.
        thinks: it thinks before its letter although it was not asked to.
        most_room: the largest token limit that it accepts.
        required: log-probabilities are never given up, whatever the server says.
        answered: it has named a letter. refused_limits: names of the token limit that it does not know.
    """

    top: int | None = TOP
    limit: str = "max_tokens"
    temperature: bool = True
    room: int = 1
    several: bool = True
    thinks: bool = False
    most_room: int = TOKEN_LIMITS[-1]
    required: bool = False
    answered: bool = False
    refused_limits: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: JudgeSettings) -> ServerCapabilities:
        """The assumptions about a new server, by `judge.logprobs`."""
        return cls(top=None if settings.logprobs == "no" else TOP, required=settings.logprobs == "yes")

    def body(self, settings: JudgeSettings, text: str, draws: int = 0) -> dict[str, Any]:
        """The request for one question; for `draws` sampled answers where there are no log-probabilities."""
        least = THINKING if settings.reasoning or self.thinks else 1 if self.top is not None else LETTER_TOKENS
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
        """Learn from a refusal; whether the request can be retried with other parameters, which are then used from now
        on.

        `body` is the refused request: many are in flight, and each refusal of one kind counts once.
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
        """The same for the token limit: another name, more tokens, or fewer."""
        if not _LIMIT.search(words):
            return False
        name = next(name for name in _LIMITS if name in body)
        if name == "max_tokens" and "max_completion_tokens" in words and name not in self.refused_limits:
            return self._call_limit("max_completion_tokens", name)
        if _TOO_SMALL.search(words) and (more := self._more_than(body[name])):
            self.room = max(self.room, more)
            return True
        if _TOO_LARGE.search(words) and body[name] > LEAST_TOKENS:
            self.most_room = min(self.most_room, max(LEAST_TOKENS, body[name] // 2))
            return True
        other_name = _LIMITS[1 - _LIMITS.index(name)]
        if _UNKNOWN.search(words) and other_name not in self.refused_limits:
            return self._call_limit(other_name, name)
        return False

    def _call_limit(self, name: str, instead_of: str) -> bool:
        if instead_of not in self.refused_limits:
            self.limit, self.refused_limits = name, (*self.refused_limits, instead_of)
        return True

    def _more_than(self, token_limit: int) -> int:
        """The next larger token limit; 0 where there is none."""
        return next((more for more in TOKEN_LIMITS if more > token_limit and more <= self.most_room), 0)

    def accepts(self, reading: Reading, body: dict[str, Any]) -> bool:
        """Whether a reply is an answer; if not, the request is to be retried with the parameters learnt from it."""
        token_limit = next(body[name] for name in _LIMITS if name in body)
        answers = reading.probability is not None or bool(reading.letters)
        if not answers and not reading.fault and self._grow(reading, token_limit):
            return False
        lacks_logprobs = not reading.fault and reading.answer_count > 0 and not reading.top
        if "top_logprobs" in body and lacks_logprobs and not self.required:
            self.top = None
            return False  # one letter at temperature 0 would say 0 or 1 of what is 0.6
        if reading.truncated and token_limit < LETTER_TOKENS:
            self.room = max(self.room, LETTER_TOKENS)
            return False
        self.answered |= answers
        return True

    def _grow(self, reading: Reading, token_limit: int) -> bool:
        """Whether to raise the token limit for an answer that was truncated before its letter.

        A judge that thinks gets as many tokens as it needs. One that was truncated, and may think invisibly, gets more
        once, and only before its first answer: later a long answer concerns one pair, most often a refusal.
        """
        first_time = token_limit < THINKING and (
            reading.thinking or reading.cut and not reading.top and not self.answered)
        if not (reading.thinking and reading.cut or first_time):
            return False
        more = self._more_than(max(token_limit, THINKING - 1))
        if not more:
            return False
        self.thinks, self.room = True, max(self.room, more)
        return True

    def without(self, body: dict[str, Any], status: int = 400) -> list[tuple[str, ...]]:
        """What to leave out of a request that was refused without naming a parameter, the most likely first.

        A refusal of the request itself (400, 422) may be due to any of them; another status has more likely causes.
        """
        present = [name for name, keys in _OPTIONAL.items() if any(key in body for key in keys)]
        if self.required:
            present = [name for name in present if name != "logprobs"]
        if status not in (400, 422):
            return [("logprobs",)] if "logprobs" in present else []
        return [*((name,) for name in present), *([tuple(present)] if len(present) > 1 else [])]

    def leave_out(self, names: tuple[str, ...]) -> bool:
        """Never send these parameters again."""
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
        """The fields that differ from the defaults, in order, and always the first four: equal for equal requests. Part
        of the idempotency key of batches that were sent, so the names must not change."""
        beginning = ServerCapabilities()
        always = ("top", "limit", "temperature", "room")
        return {name: value for name, value in asdict(self).items()
                if name in always or name not in ("answered", "refused_limits") and value != getattr(beginning, name)}


def stripped(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A request without these parameters."""
    left_out = {key for name in names for key in _OPTIONAL[name]}
    return {key: value for key, value in body.items() if key not in left_out}


def optional_in(body: dict[str, Any]) -> frozenset[str]:
    """The optional parameters that a request has, by name."""
    return frozenset(name for name, keys in _OPTIONAL.items() if any(key in body for key in keys))
