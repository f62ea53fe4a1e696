"""Near-duplicates: what is similar is found, with the error that the module states, and the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.near_duplicates import NearDuplicates, normalised, signature_of, similarity
from training.dialogue import Dialogue


def asked(text: str, system: str = "") -> Dialogue:
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]


def repeats(*prompts: str) -> list[tuple[int, int]]:
    signatures = b"".join(signature_of(asked(prompt)).tobytes() for prompt in prompts)
    return [(text, other) for text, other, _ in NearDuplicates(signatures).repeats()]


@pytest.mark.parametrize(("one", "other", "jaccard"), [
    ("What is 3?", "What is 4?", 4 / 8),  # 6 parts of 5 characters each, of which 'what ' to 't is ' are shared
    ("abcdefghij", "abcdefghijk", 6 / 7),
    ("abcdefghij", "klmnopqrst", 0.0),
    ("Why?", "Why", 0.0),  # each is one part
])
def test_the_estimate_is_near_the_jaccard_index_worked_out_by_hand(one: str, other: str, jaccard: float) -> None:
    estimate = similarity(signature_of(asked(one)), signature_of(asked(other)))

    assert estimate == pytest.approx(jaccard, abs=3 * (jaccard * (1 - jaccard) / 120) ** 0.5 + 1e-9)


def test_the_error_is_the_one_that_is_stated() -> None:
    draw = np.random.default_rng(7)
    errors = []
    for _ in range(200):  # 100 letters that never repeat, one replaced: 96 parts each, of which 91 are shared
        letters = draw.choice(20_000, 101, replace=False) + 0x4E00
        text = "".join(map(chr, letters[:100]))
        changed = text[:50] + chr(letters[100]) + text[51:]
        errors.append(similarity(signature_of(asked(text)), signature_of(asked(changed))) - 91 / 101)

    assert abs(np.mean(errors)) < 0.006  # three standard errors of the mean
    assert np.std(errors) == pytest.approx((91 / 101 * 10 / 101 / 120) ** 0.5, rel=0.2)


def test_case_spaces_and_unicode_forms_make_no_difference() -> None:
    assert normalised("  Where\n is\tthe CAFE\N{COMBINING ACUTE ACCENT}? ") == "where is the café?"
    assert repeats("Where is the CAFÉ?", "where  is the cafe\N{COMBINING ACUTE ACCENT}?") == [(1, 0)]


def test_the_first_stays_and_a_chain_of_small_steps_joins_nothing_that_is_far_apart() -> None:
    letters = "".join(chr(0x4E00 + number) for number in range(118))
    steps = [letters[start:start + 100] for start in (0, 9, 18)]  # 96 parts each, none twice

    # By one step 87 of 105 parts are shared, 0.83; by two 78 of 114, 0.68. The second is near the first. The third is
    # near the second alone, which does not stay.
    assert repeats(*steps) == [(1, 0)]


def test_another_system_message_is_another_prompt_and_a_shared_one_makes_nothing_alike() -> None:
    long_system = "You are a careful assistant who answers in one sentence and never guesses. " * 10
    same_task = [signature_of(asked(text, long_system)) for text in ("Name a lake.", "Is tea hot?")]
    two_tasks = [signature_of(asked("Name a lake.", system)) for system in ("In French.", "In Greek.")]

    assert similarity(*same_task) == similarity(*two_tasks) == 0


def test_a_part_is_compared_with_what_is_outside_of_it() -> None:
    texts = ["Tell me the way to the station", "tell me the way to the station!", "Name a deep lake",
             "name a deep lake", "Is tea hot?"]
    near = NearDuplicates(b"".join(signature_of(asked(text)).tobytes() for text in texts))

    assert near.with_a_near_duplicate_outside([1, 4]) == 1
    assert near.with_a_near_duplicate_outside([2, 3]) == 0  # they are like each other, and both are in the part
    assert near.with_a_near_duplicate_outside([2]) == 1


def test_a_signature_is_the_same_on_every_machine() -> None:
    assert signature_of(asked("The same text."))[:3].tolist() == [1644925232, 528166448, 1006594186]
