"""Questions that begin alike, read as a tree: what they share is read once, and no question sees another's own words.

The questions about a pair share its conversation, those in one order its options too. Their tokens are laid out in
rows, each beginning once; an attention mask lets a token see what comes before it in its own question, and its position
is its place there. What is shared is read first, and its keys and values serve the questions' own words. So every
number is that of the question read alone, which is measured on the model before it is relied on (`reads_trees`). Left
out: models that remember by states, and questions longer than an attention window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os.path import commonprefix

import torch
from torch import Tensor
from transformers import DynamicCache

from training.errors import is_out_of_memory
from training.models.decoding import attends_only, attention_window
from training.models.exactness import TOLERANCE
from training.models.language_model import LanguageModel

TOKENS = {"cpu": 2_048, "cuda": 16_384}
"""At most this many tokens in a pass by device, padding included (more where one tree alone has more): a CPU gains
nothing from larger ones, and a GPU is not filled by smaller ones."""

BRANCHES = 2
"""Rows in which the questions' own words of a tree are read: attention over half of them costs a quarter."""

LEAST_LIKELY = -9.0
"""Log-probability from which on a token counts when two ways of reading are compared; where none is as likely, as in a
model of random weights, the likeliest counts."""

Questions = Sequence[Sequence[int]]
"""Token ids of the questions that share a tree."""


@dataclass
class Columns:
    """Tokens in a row: of each its position in its question and the number of its segment."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)

    def add(self, tokens: list[int], position: int, segment: int) -> None:
        self.tokens += tokens
        self.positions += range(position, position + len(tokens))
        self.segments += [segment] * len(tokens)


@dataclass
class Tree:
    """The tokens of questions, each shared beginning once.

    Attributes:
        shared: what more than one question begins with.
        own: what each question ends with, in `BRANCHES` rows that do not see one another.
        ancestors: of each segment, itself and the segments that come before it in its questions.
        ends: of each question, its row of `own` and how many columns from the right it ends.
    """

    shared: Columns = field(default_factory=Columns)
    own: list[Columns] = field(default_factory=lambda: [Columns() for _ in range(BRANCHES)])
    ancestors: list[list[int]] = field(default_factory=list)
    ends: list[tuple[int, int]] = field(default_factory=list)

    def size(self) -> int:
        return len(self.shared.tokens) + sum(len(branch.tokens) for branch in self.own)


def tree_of(questions: Questions, start: int = 0) -> Tree:
    """The tree of questions whose first `start` tokens are read already; each has more than those."""
    tree = Tree()
    leaves: list[tuple[list[int], int, list[int], list[int]]] = []  # tokens, position, ancestors, questions
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
                leaves.append((shared, at, line, ended))
                continue
            if ended:  # the last token of a question is its own, also where others go on with it
                leaves.append((shared[-1:], at + len(shared) - 1, [*line, len(tree.ancestors)], ended))
                shared = shared[:-1]
            number = len(tree.ancestors)
            tree.ancestors.append([*line, number])
            tree.shared.add(shared, at, number)
            waiting.append(([member for member in alike if member not in ended], at + len(shared), [*line, number]))
    leaves.sort(key=lambda leaf: (leaf[2], leaf[3]))  # what has more in common in one branch
    columns: dict[int, tuple[int, int]] = {}
    for place, (tokens, at, line, ended) in enumerate(leaves):
        branch = place * BRANCHES // len(leaves)
        tree.own[branch].add(tokens, at, len(tree.ancestors))
        tree.ancestors.append([*line, len(tree.ancestors)])
        columns |= dict.fromkeys(ended, (branch, len(tree.own[branch].tokens)))
    ends = [columns[question] for question in range(len(questions))]
    tree.ends = [(branch, len(tree.own[branch].tokens) - end) for branch, end in ends]
    return tree


@torch.no_grad()
def read_trees(language: LanguageModel, groups: Sequence[Questions]) -> tuple[Tensor, Tensor]:
    """What follows each question: what questions share is read first, then each one's own words.

    Returns:
        Logits [rows, columns, vocabulary] of the columns in which any question ends, on the model's device; and for
        each question, group by group, its row and its place among those columns, [questions, 2].
    """
    every = [list(ids) for questions in groups for ids in questions]
    known = min(len(commonprefix(every)), min(map(len, every)) - 1)
    trees = [tree_of(questions, known) for questions in groups]
    device, cache = language.device, DynamicCache()
    if known:
        beginning = torch.tensor([every[0][:known]], device=device)
        language.model(input_ids=beginning, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(trees))
    precedes = _precedes(trees).to(device)
    shared = _padded([tree.shared for tree in trees], language.pad_id).to(device)
    if shared.shape[-1]:
        _read(language, shared, shared, precedes, known, cache, torch.zeros(1, dtype=torch.long, device=device))
    if known or shared.shape[-1]:
        cache.batch_repeat_interleave(BRANCHES)
    own = _padded([branch for tree in trees for branch in tree.own], language.pad_id).to(device)
    ends = [(row * BRANCHES + branch, own.shape[-1] - 1 - behind)
            for row, tree in enumerate(trees) for branch, behind in tree.ends]
    columns = sorted({column for _, column in ends})
    keys = torch.cat([shared.repeat_interleave(BRANCHES, dim=1), own], dim=-1)
    logits = _read(language, own, keys, precedes.repeat_interleave(BRANCHES, dim=0), known, cache,
                   torch.tensor(columns, device=device))
    place = {column: index for index, column in enumerate(columns)}
    return logits, torch.tensor([(row, place[column]) for row, column in ends], device=device)


def _read(language: LanguageModel, new: Tensor, keys: Tensor, precedes: Tensor, known: int, cache: DynamicCache,
          columns: Tensor) -> Tensor:
    """Logits in some of the columns of `new`; of `keys`, which end with them, each sees what precedes it."""
    tokens, positions, segments = new
    numbers = torch.arange(len(tokens), device=tokens.device)[:, None, None]
    sees = precedes[numbers, segments[:, :, None], keys[2][:, None, :]]
    sees &= keys[1][:, None, :] <= positions[:, :, None]
    hides = torch.zeros((len(tokens), 1, tokens.shape[1], known + sees.shape[2]), dtype=language.model.dtype,
                        device=tokens.device)
    hides[:, 0, :, known:].masked_fill_(~sees, torch.finfo(hides.dtype).min)
    logits: Tensor = language.model(input_ids=tokens, attention_mask=hides, position_ids=positions, use_cache=True,
                                    past_key_values=cache, logits_to_keep=columns).logits
    return logits


def _padded(rows: Sequence[Columns], pad: int) -> Tensor:
    """Tokens, positions and segments counted from 1, [3, rows, columns], padded at the left; segment 0 is padding."""
    width = max(len(row.tokens) for row in rows)
    columns = torch.zeros((3, len(rows), width), dtype=torch.long)
    columns[0] = pad
    for number, row in enumerate(rows):
        padding = width - len(row.tokens)
        columns[:, number, padding:] = torch.tensor([row.tokens, row.positions, [1 + at for at in row.segments]])
    return columns


def _precedes(trees: Sequence[Tree]) -> Tensor:
    """Whether the second segment is seen from the first, [trees, segments, segments], counted from 1."""
    deepest = 1 + max(len(tree.ancestors) for tree in trees)
    precedes = torch.zeros((len(trees), deepest, deepest), dtype=torch.bool)
    precedes[:, 0, 0] = True  # padding sees padding: a row of the mask that hides everything has no softmax
    for row, tree in enumerate(trees):
        for number, line in enumerate(tree.ancestors):
            precedes[row, number + 1, [ancestor + 1 for ancestor in line]] = True
    return precedes


def passes(groups: Sequence[Questions], device: torch.device) -> list[list[int]]:
    """The groups by number, divided into passes of like size: those of a pass are padded to its largest."""
    sizes = [tree_of(questions).size() for questions in groups]
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
    except Exception as error:  # a family may fail in any way: it is then asked in another
        if is_out_of_memory(error):
            raise
        return False
    bound = TOLERANCE.get(language.model.dtype, TOLERANCE[torch.bfloat16])
    with torch.no_grad():
        alone = torch.stack([language.model(input_ids=torch.tensor([question], device=language.device), use_cache=False
                                            ).logits[0, -1] for questions in groups for question in questions])
    together = logits[places[:, 0], places[:, 1]]
    alone = alone.float().log_softmax(-1)
    difference = (together.float().log_softmax(-1) - alone).abs()
    likely = alone >= alone.amax(-1, keepdim=True).clamp(max=LEAST_LIKELY)
    return bool(difference[likely].max() <= bound)


def fits_window(language: LanguageModel, questions: Questions) -> bool:
    """Whether every layer sees the whole of each question."""
    window = attention_window(language.model)
    return window is None or max(map(len, questions)) <= window
