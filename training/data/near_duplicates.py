"""Which texts are nearly the same: MinHash signatures of character 5-grams, in numpy. Torch-free.

The similarity of two texts is the Jaccard index of their sets of 5-grams, |A ∩ B| / |A ∪ B|, after NFKC, case folding
and joining of white space. A signature of 120 minima estimates it with a standard error of sqrt(s (1 - s) / 120), 0.037
at s = 0.8. Only texts that agree in one of 20 bands of 6 minima are compared: a pair of similarity s is compared with
probability 1 - (1 - s^6)^20, 0.998 at 0.8 and above 0.9999 at 0.9. The same texts give the same answer on every
machine. Sources: Broder 1997, doi:10.1109/SEQUEN.1997.666900; Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, chapter 3.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt

from training.dialogue import Dialogue

THRESHOLD = 0.8  # texts whose estimated similarity reaches it are near-duplicates
BANDS, BAND_SIZE = 20, 6
MINIMA = BANDS * BAND_SIZE
_GRAM = 5  # characters
_CHUNK = 2048  # 5-grams whose hashes are in memory at once: 1 MB
_MOST_COMPARED = 64  # texts of one band that a text is compared with

_random = np.random.Generator(np.random.PCG64(120))
_MULTIPLIERS = _random.integers(0, 2**31, (MINIMA, 1), dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_ADDED = _random.integers(0, 2**32, (MINIMA, 1), dtype=np.uint32)
_GRAM_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio

Signature = npt.NDArray[np.uint32]


def signature_of(prompt: Dialogue) -> Signature:
    """The MINIMA minima of a prompt's 5-grams. Prompts with different system messages share no 5-gram: the system
    message says what task the rest is, and one that all prompts share must not make them alike."""
    system = "\n".join(message["content"] for message in prompt if message["role"] == "system")
    rest = "\n".join(message["content"] for message in prompt if message["role"] != "system")
    return _minima(_grams(normalised(rest), normalised(system)))


def normalised(text: str) -> str:
    """The text without what makes no difference: NFKC, case folded, white space joined."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _grams(text: str, system: str) -> npt.NDArray[np.uint32]:
    """The 5-grams of a text as hashes; a shorter text is one, filled up with zeros."""
    letters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    if len(letters) < _GRAM:
        letters = np.pad(letters, (0, _GRAM - len(letters)))
    seed = int.from_bytes(hashlib.sha256(system.encode("utf-8", "surrogatepass")).digest()[:8], "little")
    hashes = np.full(len(letters) - _GRAM + 1, seed, dtype=np.uint64)
    for place in range(_GRAM):
        hashes = _mixed((hashes ^ letters[place : place + len(hashes)]) * _GRAM_MULTIPLIER)
    return (hashes >> np.uint64(32)).astype(np.uint32)


def _mixed(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """High bits into low ones: a product alone leaves the low bits of a hash to the low bits of its factor."""
    return hashes ^ (hashes >> np.uint64(29))


def _minima(grams: npt.NDArray[np.uint32]) -> Signature:
    """For each of MINIMA permutations of the 32-bit numbers (an odd factor, a summand) the least value over all."""
    least = np.full(MINIMA, np.iinfo(np.uint32).max, dtype=np.uint32)
    for start in range(0, len(grams), _CHUNK):
        permuted = grams[None, start : start + _CHUNK] * _MULTIPLIERS + _ADDED
        least = np.minimum(least, permuted.min(axis=1))
    return least


def similarity(one: Signature, other: Signature) -> float:
    """The estimated Jaccard index of two signatures: the share of minima in which they agree."""
    return float((one == other).mean())


class NearDuplicates:
    """Finds near-duplicates among texts that are known by their signatures, in their order.

    Args:
        signatures: of all texts, one after the other: 480 bytes each.
    """

    def __init__(self, signatures: bytes | bytearray) -> None:
        self.signatures = np.frombuffer(signatures, dtype=np.uint32).reshape(-1, MINIMA)
        count = len(self.signatures)
        self._bands = np.empty((BANDS, count), dtype=np.uint64)
        for band in range(BANDS):
            minima = self.signatures[:, band * BAND_SIZE : (band + 1) * BAND_SIZE].astype(np.uint64)
            keys = np.zeros(count, dtype=np.uint64)
            for place in range(BAND_SIZE):
                keys = _mixed((keys ^ minima[:, place]) * _GRAM_MULTIPLIER)
            self._bands[band] = keys

    def repeats(self, threshold: float = THRESHOLD) -> Iterator[tuple[int, int, float]]:
        """The texts that are near-duplicates of an earlier one that is none itself, with that one and their similarity.

        Without them, what stays has no two near-duplicates (but for the error above), and each that is left out has one
        that stays: a chain of small steps does not join what is far apart. A text is compared with at most 64
        of each band.
        """
        shared = [_occurring_twice(keys) for keys in self._bands]
        is_candidate = np.zeros(len(self.signatures), dtype=bool)
        for mask in shared:
            is_candidate |= mask
        texts_by_key: list[defaultdict[int, list[int]]] = [defaultdict(list) for _ in range(BANDS)]
        for text in np.flatnonzero(is_candidate).tolist():
            keys = [(band, int(self._bands[band][text])) for band in range(BANDS) if shared[band][text]]
            earlier = sorted({other for band, key in keys for other in texts_by_key[band].get(key, ())})
            if earlier:
                agreement = (self.signatures[earlier] == self.signatures[text]).mean(axis=1)
                best = int(agreement.argmax())
                if agreement[best] >= threshold:
                    yield text, earlier[best], float(agreement[best])
                    continue
            for band, key in keys:
                if len(texts_by_key[band][key]) < _MOST_COMPARED:
                    texts_by_key[band][key].append(text)

    def with_a_near_duplicate_outside(self, part: Collection[int], threshold: float = THRESHOLD) -> int:
        """How many texts of a part have a near-duplicate among the others."""
        is_outside = np.ones(len(self.signatures), dtype=bool)
        is_outside[list(part)] = False
        count = 0
        for text in part:
            meets = (self._bands == self._bands[:, text : text + 1]).any(axis=0) & is_outside
            agreement = (self.signatures[meets] == self.signatures[text]).mean(axis=1)
            count += bool((agreement >= threshold).any())
        return count


def _occurring_twice(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.asarray(counts[place] > 1)
