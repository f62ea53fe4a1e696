"""A pair is read as prompt, a, b in one row: the scores and gradients are those of two rows, in every family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.training.tiny_families import FAMILIES, make_family
from training import preference_models as pm
from training.config import Lora, PreferenceModelSettings
from training.preference_models import pair_batches, reading_pairs
from training.preference_models.pair_batches import FIXED_COST, TokenPair, common_prefix, grouped
from training.stages import preference_model as stage

SHARED = {"mistral", "gemma2", "gemma3", "gemma3_with_pictures", "llama4_with_pictures", "gpt2", "opt"}
"""Of the others, hybrids and Gemma 4 remember more than keys of their own layers, MPT takes no positions, and RoBERTa
counts them from behind the padding's."""

PAIRS = [TokenPair([2, 5, 6, 7, 8, 9, 1], [2, 5, 6, 7, 3, 1]), TokenPair([2, 5, 6, 4, 1], [2, 5, 6, 7, 3, 1]),
         TokenPair([4, 4, 5, 6, 1], [4, 4, 5, 1]), TokenPair([3, 5, 1], [4, 6, 2, 1])]
"""Of the first row the attention windows of some families do not see everything; the last two responses share no
beginning, as where a prompt is cut."""


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    home = tmp_path_factory.mktemp("bases")
    return cache(lambda name: make_family(name, home / name))


def model_on(base: Path, *, dropout: float = 0.0, heads: int = 1, full: bool = False,
             precision: str = "fp32") -> pm.PreferenceModel:
    """A model whose adapter says something."""
    torch.manual_seed(0)
    model, _ = pm.new_model(str(base), Lora(r=2, alpha=8, dropout=dropout), "cpu", precision, heads=heads, full=full)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model.eval()


def scores_of(score: Callable[[], torch.Tensor], model: pm.PreferenceModel) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Scores [pairs, 2, heads] and the gradients of a loss that asks something else of each."""
    scores = score()
    weights = torch.linspace(-1, 1, scores.numel()).view_as(scores)
    learnt = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad((scores * weights).sum(), learnt, allow_unused=True)
    return scores.detach(), [torch.zeros_like(weight) if gradient is None else gradient
                             for weight, gradient in zip(learnt, gradients, strict=True)]


def in_rows_of_their_own(model: pm.PreferenceModel, pairs: Sequence[TokenPair]) -> torch.Tensor:
    return torch.stack([torch.cat([model(*pm.padded([row], 0, "cpu")) for row in pair]) for pair in pairs])


def read_by(reader: pm.PairReader, pairs: Sequence[TokenPair], most_tokens: int = 0) -> torch.Tensor:
    by_pair = {index: scores for batch in reader.batches(pairs, most_tokens)
               for index, scores in zip(batch.indices, reader.scores(batch), strict=True)}
    return torch.stack([by_pair[index] for index in range(len(pairs))])


def assert_alike(quick: tuple[torch.Tensor, list[torch.Tensor]],
                 plain: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    """Equal but for fp32 rounding, relative to the largest of each."""
    for ours, theirs in zip([quick[0], *quick[1]], [plain[0], *plain[1]], strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max() + 1e-5


@pytest.mark.parametrize("most_tokens", [0, 16], ids=["one pass", "several passes"])
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - {"rwkv"}))
def test_scores_and_gradients_are_those_of_rows_of_their_own(name: str, most_tokens: int,
                                                             family: Callable[[str], Path]) -> None:
    model = model_on(family(name))
    plain = scores_of(lambda: in_rows_of_their_own(model, PAIRS), model)
    with pm.pair_reader(model, 0) as reader:
        assert reader.shares_prompts == (name in SHARED)
        quick = scores_of(lambda: read_by(reader, PAIRS, most_tokens), model)
        in_order = reader.score_all(PAIRS)
    assert plain[0].std() > 0
    torch.testing.assert_close(in_order, plain[0], rtol=1e-3, atol=1e-3)
    assert_alike(quick, plain)


@pytest.mark.parametrize("kind", ["several heads", "full"])
def test_heads_of_one_trunk_and_whole_bases_read_the_same_way(kind: str, tiny_base: Path) -> None:
    model = model_on(tiny_base, heads=3 if kind == "several heads" else 1, full=kind == "full")
    plain = scores_of(lambda: in_rows_of_their_own(model, PAIRS), model)
    with pm.pair_reader(model, 0) as reader:
        assert reader.shares_prompts
        assert_alike(scores_of(lambda: read_by(reader, PAIRS), model), plain)


@pytest.mark.parametrize("full", [False, True])
def test_in_bf16_it_is_as_near_to_fp32_as_rows_of_their_own(full: bool, tiny_base: Path) -> None:
    exact, narrow = (model_on(tiny_base, full=full, precision=precision) for precision in ("fp32", "bf16"))
    with torch.no_grad():
        truth, plain = (in_rows_of_their_own(model, PAIRS) for model in (exact, narrow))
        with pm.pair_reader(narrow, 0) as reader:
            assert reader.shares_prompts
            quick = read_by(reader, PAIRS)
    assert (quick - truth).norm() < 2 * (plain - truth).norm() < 0.2 * truth.norm()


def test_what_the_responses_begin_with_is_shared_too_but_never_an_end() -> None:
    assert common_prefix(PAIRS[0]) == 4 and common_prefix(PAIRS[3]) == 0
    assert common_prefix(TokenPair([5, 6, 1], [5, 6, 1])) == 2
    assert common_prefix(TokenPair([5, 1], [5, 1, 1])) == 1


def test_a_row_is_prompt_a_and_b_which_goes_on_where_the_prompt_ends(tiny_base: Path) -> None:
    [batch] = pair_batches.batches([TokenPair([7, 8, 3, 1], [7, 8, 4, 5, 1])], [True], 100, 0, torch.device("cpu"))
    assert batch.ids.tolist() == [[7, 8, 3, 1, 4, 5, 1]] and batch.ends.tolist() == [3, 6]
    assert batch.positions is not None and batch.positions.tolist() == [[0, 1, 2, 3, 2, 3, 4]]
    assert batch.segments is not None
    sees = pair_batches.attention_mask(batch.segments, torch.float32)[0, 0] == 0
    assert [row.nonzero().flatten().tolist() for row in sees] == [
        [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 4, 5], [0, 1, 4, 5, 6]]


def test_pairs_that_share_little_or_that_a_window_cuts_are_read_in_two_rows(family: Callable[[str], Path]) -> None:
    with pm.pair_reader(model_on(family("mistral")), 0) as reader:  # its window is of six tokens
        shared = {index for batch in reader.batches(PAIRS) if batch.segments is not None for index in batch.indices}
        assert shared == {1, 2}
    long = TokenPair([5, *[6] * 20, 1], [5, *[7] * 20, 1])
    [batch] = pair_batches.batches([long], [True], 1000, 0, torch.device("cpu"))
    assert batch.segments is None


def test_rows_of_similar_length_go_together_within_the_bound() -> None:
    lengths = [9, 100, 8, 101]
    assert grouped(range(4), lengths, 1000, fixed_cost=50) == [[2, 0], [1, 3]], "padding costs more than a pass"
    assert grouped(range(4), lengths, 1000, fixed_cost=1000) == [[2, 0, 1, 3]], "a pass costs more than padding"
    assert grouped(range(5), [10] * 5, 25, fixed_cost=50) == [[0], [1, 2], [3, 4]], "in even parts"
    assert grouped([3], [0, 0, 0, 70], 25, fixed_cost=50) == [[3]], "a pair at least"
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 60, (200,), generator=generator).tolist()
    groups = grouped(range(200), lengths, 500, FIXED_COST["cpu"])
    assert sorted(index for group in groups for index in group) == list(range(200))
    assert all(len(group) * max(lengths[index] for index in group) <= 500 for group in groups)
    assert sum(len(group) * max(lengths[index] for index in group) for group in groups) < 1.2 * sum(lengths)


def test_half_the_operations_are_left(family: Callable[[str], Path]) -> None:
    """16 tokens of prompt and 8 of each response: 32 of 48 tokens, and of the second of two layers little but keys."""
    prompt = list(range(2, 18))
    pairs = [TokenPair([*prompt, *[3] * 7, 1], [*prompt, *[4] * 7, 1])] * 8
    model = model_on(family("gpt2"))
    with FlopCounterMode(display=False) as plain, torch.no_grad():
        model(*pm.padded([row for pair in pairs for row in pair], 0, "cpu"))
    with pm.pair_reader(model, 0) as reader, FlopCounterMode(display=False) as quick, torch.no_grad():
        read_by(reader, pairs)
    assert quick.get_total_flops() < 0.55 * plain.get_total_flops()


class _Waits(TorchDispatchMode):
    """Counts how often the host asks a tensor for its value, for which it waits on a GPU."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def test_the_host_waits_for_no_micro_batch(tiny_base: Path) -> None:
    pairs = PAIRS[:3]
    examples = [stage.Example(str(index), "", list(pair.a), list(pair.b), (1, 1), (0.9,), None)
                for index, pair in enumerate(pairs)]
    with pm.pair_reader(model_on(tiny_base), 0) as reader:
        reader._most_tokens = 1
        assert len(reader.batches(pairs)) == len(pairs)
        with _Waits() as waits:
            stage._backward(reader, examples, PreferenceModelSettings())
    assert waits.count == 0


def test_only_small_bases_are_copied(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_on(tiny_base)
    for most, copied in ((10**9, True), (0, False)):
        monkeypatch.setattr(reading_pairs, "SUMMED", most)
        with pm.pair_reader(model, 0):
            assert any("fused_weight" in vars(module) for module in model.modules()) == copied


def test_nothing_is_left_of_it(tiny_base: Path) -> None:
    model = model_on(tiny_base)
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    with pm.pair_reader(model, 0) as reader:
        read_by(reader, PAIRS).sum().backward()
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
