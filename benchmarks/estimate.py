"""The estimate of what labels cost against what they are billed as, on pairs of hh-rlhf.

    python benchmarks/estimate.py hh_harmless_1500.jsonl.gz

The bill is counted by a byte-level BPE tokenizer of 8,000 tokens that is trained on the file itself, for every pair in
both orders. Beside it stand the estimate before anything is asked, from an even sample of the pairs as the web takes
it, and the one that the web shows after a hundred replies: those of the file's first fifty pairs, and, since the
beginning of a file is one draw, of each fifty pairs in turn.

The last line is `before: -0.20 after: 0.05 within_a_tenth: 0.90`: relative errors, and the share of the draws whose
error is at most a tenth.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
from pathlib import Path

import repository  # noqa: F401
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from training.config import JudgeSettings, Recipe, shipped_recipe
from training.dialogue import parse_hh
from training.judges.estimate import ENOUGH, estimate
from training.judges.prompt import question_of

WORDINGS = ("less toxic, crude and offensive", "more honest about what it does not know", "more concise")
FRAME = 9  # tokens that the chat's template adds
MARK = "\n\nAssistant:"


def questions_of(path: Path, judge: JudgeSettings, wording: str) -> list[str]:
    """A question a pair."""
    questions = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            (prompt, _, chosen), (_, _, rejected) = (row[name].rpartition(MARK) for name in ("chosen", "rejected"))
            questions.append(question_of(judge, parse_hh(prompt), chosen.strip(), rejected.strip(), wording))
    return questions


def tokenizer_of(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, BpeTrainer(vocab_size=8000, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    import django

    django.setup()
    from webapp.judges.estimating import SAMPLE, so_far

    judge = JudgeSettings(kind="openai", model="m", price_in=1.0, price_out=2.0)
    recipe = Recipe.model_validate(shipped_recipe("demo").model_dump() | {"judge": judge.model_dump()})
    tokenizer, before, after = None, [], []
    for wording in WORDINGS:
        questions = questions_of(options.file, judge, wording)
        tokenizer = tokenizer or tokenizer_of(questions)
        billed = [len(encoding.ids) + FRAME for encoding in tokenizer.encode_batch(questions)]
        actual, calls = 2 * sum(billed), 2 * len(questions)
        sample = questions[::max(1, len(questions) // SAMPLE)][:SAMPLE]
        first = estimate(sample, judge, len(sample) / calls)
        before.append(first.tokens_in.likely / actual - 1)
        half = ENOUGH // 2
        for start in range(0, len(billed) - half + 1, half):
            asked = slice(start, start + half)
            later = so_far(first, calls=ENOUGH, tokens_in=2 * sum(billed[asked]), tokens_out=ENOUGH, seconds=1.0,
                           chars=2 * sum(map(len, questions[asked])), recipe=recipe)
            after.append(later.tokens_in.likely / actual - 1)
        print(f"{wording}: {actual:,} tokens billed; estimated before {before[-1]:+.1%}, in its range "
              f"{first.tokens_in.low <= actual <= first.tokens_in.high}", flush=True)
    draws = len(after) // len(WORDINGS)
    beginnings = after[::draws]
    within = statistics.fmean(abs(error) <= 0.1 for error in after)
    print(f"after {ENOUGH} replies, {len(after)} draws: median error {statistics.median(map(abs, after)):.1%}, "
          f"worst {max(map(abs, after)):.1%}")
    print(f"before: {statistics.fmean(before):.2f} after: {statistics.fmean(beginnings):.2f} "
          f"within_a_tenth: {within:.2f}")


if __name__ == "__main__":
    main()
