"""Questions that begin alike, read as a tree: what they share is read once, and no question sees another's own words.

The questions about a pair share its conversation, those in one order its options too. Their tokens are laid out in one
row, each beginning once; an attention mask lets a token see what comes before it in its own question, and its position
is its place there. So every number is that of the question read alone, which is measured on the model before it is
relied on (`reads_trees`). Left out: models that remember by states, and questions longer than an attention window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from training.models.decoding import attends_only, attention_window
from training.models.exactness import TOLERANCE
from training.models.language_model import LanguageModel

TOKENS = {"cpu": 2_048, "cuda": 16_384}
"""At most this many tokens in a pass by device, padding included (more where one tree alone has more). A CPU is slower
where the tensors of a pass leave its cache, a GPU where a pass is too small to fill it."""

Questions = Sequence[Sequence[int]]
"""Token ids of the questions that share a tree."""


@dataclass
class Tree:
    """The tokens of questions, each shared beginning once.

    Attributes:
        tokens, positions: of each column; the position is the place in its question.
        segments: of each column, the number of the segment it belongs to.
        ancestors: of each segment, itself and the segments that come before it in its questions.
        ends: of each question, the column of its last token.
    """

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    ancestors: list[list[int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class _Segment(NamedTuple):
    """Tokens that the same questions share: where they begin, which segments come before, which questions end here."""

    tokens: list[int]
    position: int
    line: list[int]
    ended: list[int]


def tree_of(questions: Questions, start: int = 0) -> Tree:
    """The tree of questions whose first `start` tokens are read already; each has more than those.

    What ends a question comes last, so that in a batch padded at the left like questions end in the same columns.
    """
    tree = Tree(ends=[-1] * len(questions))
    inner: list[_Segment] = []
    leaves: list[_Segment] = []
    waiting = [(list(range(len(questions))), start, list[int]())]
    while waiting:
        members, at, line = waiting.pop()
        by_token: dict[int, list[int]] = {}
        for member in members:
            by_token.setdefault(questions[member][at], []).append(member)
        for alike in by_token.values():
            shared = list(commonprefix([list(questions[member][at:]) for member in alike]))
            ended = [member for member in alike if len(questions[member]) == at + len(shared)]
            if len(ended) == len(alike):
                leaves.append(_Segment(shared, at, line, ended))
                continue
            inner.append(_Segment(shared, at, line, ended))
            longer = [member for member in alike if member not in ended]
            waiting.append((longer, at + len(shared), [*line, len(inner) - 1]))
    for segment in [*inner, *sorted(leaves, key=lambda leaf: leaf.ended[0])]:
        number = len(tree.ancestors)
        tree.ancestors.append([*segment.line, number])
        tree.tokens += segment.tokens
        tree.positions += range(segment.position, segment.position + len(segment.tokens))
        tree.segments += [number] * len(segment.tokens)
        for member in segment.ended:
            tree.ends[member] = len(tree.tokens) - 1
    return tree


@torch.no_grad()
def read_trees(language: LanguageModel, groups: Sequence[Questions]) -> tuple[Tensor, Tensor]:
    """What follows each question, in one pass with a row for each group.

    Returns:
        Logits [rows, columns, vocabulary] of the columns in which any question ends, on the model's device; and for
        each question, group by group, its row and its place among those columns, [questions, 2].
    """
    every = [list(ids) for questions in groups for ids in questions]
    shared = min(len(commonprefix(every)), min(map(len, every)) - 1)
    trees = [tree_of(questions, shared) for questions in groups]
    width = max(len(tree.tokens) for tree in trees)
    ends = [(row, end + width - len(tree.tokens)) for row, tree in enumerate(trees) for end in tree.ends]
    columns = sorted({column for _, column in ends})
    device = language.device
    cache = DynamicCache()
    if shared:
        beginning = torch.tensor([every[0][:shared]], device=device)
        language.model(input_ids=beginning, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(trees))
    tokens, positions, mask = (part.to(device) for part in _laid_out(trees, width, language.pad_id))
    hides = torch.zeros((len(trees), 1, width, shared + width), dtype=language.model.dtype, device=device)
    hides[:, 0, :, shared:].masked_fill_(~mask, torch.finfo(hides.dtype).min)
    logits = language.model(input_ids=tokens, attention_mask=hides, position_ids=positions, past_key_values=cache,
                            use_cache=True, logits_to_keep=torch.tensor(columns, device=device)).logits
    place = {column: index for index, column in enumerate(columns)}
    return logits, torch.tensor([(row, place[column]) for row, column in ends], device=device)


def _laid_out(trees: Sequence[Tree], width: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens and positions [trees, width], padded at the left, and which columns see which [trees, width, width]."""
    rows, deepest = len(trees), 1 + max(len(tree.ancestors) for tree in trees)
    tokens = torch.full((rows, width), pad)
    positions, segments = torch.zeros_like(tokens), torch.zeros_like(tokens)  # segment 0 is the padding
    precedes = torch.zeros((rows, deepest, deepest), dtype=torch.bool)
    precedes[:, 0, 0] = True  # padding sees padding: a row of the mask that hides everything has no softmax
    for row, tree in enumerate(trees):
        padding = width - len(tree.tokens)
        tokens[row, padding:] = torch.tensor(tree.tokens)
        positions[row, padding:] = torch.tensor(tree.positions)
        segments[row, padding:] = torch.tensor(tree.segments) + 1
        for number, line in enumerate(tree.ancestors):
            precedes[row, number + 1, [ancestor + 1 for ancestor in line]] = True
    numbers = torch.arange(rows)[:, None, None]
    sees = precedes[numbers, segments[:, :, None], segments[:, None, :]]
    return tokens, positions, sees & (positions[:, None, :] <= positions[:, :, None])


def passes(groups: Sequence[Questions], device: torch.device) -> list[list[int]]:
    """The groups by number, divided into passes of like size: those of a pass are padded to its largest."""
    sizes = [len(tree_of(questions).tokens) for questions in groups]
    parts: list[list[int]] = []
    most = TOKENS.get(device.type, TOKENS["cuda"])
    for number in sorted(range(len(groups)), key=lambda number: -sizes[number]):
        if parts and sizes[parts[-1][0]] * (len(parts[-1]) + 1) <= most:
            parts[-1].append(number)
        else:
            parts.append([number])
    return parts


def reads_trees(language: LanguageModel) -> bool:
    """Whether this model's numbers are those of questions read alone: measured on a few random tokens."""
    if not attends_only(language.model):
        return False
    generator = torch.Generator().manual_seed(0)
    count = int(language.model.get_input_embeddings().weight.shape[0])
    ids = torch.randint(count, (10,), generator=generator).tolist()
    groups = [[ids[:4] + ids[6:7], ids[:4] + ids[7:9], ids[:3] + ids[8:]], [ids[:2] + ids[5:8], ids[:2] + ids[5:6]]]
    try:
        logits, places = read_trees(language, groups)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception:  # a family may fail in any way: it is then asked in another
        return False
    bound = TOLERANCE.get(language.model.dtype, TOLERANCE[torch.bfloat16])
    with torch.no_grad():
        alone = torch.stack([language.model(input_ids=torch.tensor([question], device=language.device), use_cache=False
                                            ).logits[0, -1] for questions in groups for question in questions])
    together = logits[places[:, 0], places[:, 1]]
    difference = (together.float().log_softmax(-1) - alone.float().log_softmax(-1)).abs()
    likely = alone.float().log_softmax(-1) > -9.0
    return bool(difference[likely].max() <= bound)


def fits_window(language: LanguageModel, questions: Questions) -> bool:
    """Whether every layer sees the whole of each question."""
    window = attention_window(language.model)
    return window is None or max(map(len, questions)) <= window
