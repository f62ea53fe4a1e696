"""A judge that is a model on this machine: A and B by their probabilities, what questions share computed once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny_families import make_family
from training.config import DEMO_WORLD, JudgeSettings, Recipe
from training.errors import BadSettings
from training.judges.judge import PairQuestion
from training.judges.prompt import prompt_version
from training.models import language_model, question_tree
from training.models.language_model import LanguageModel
from training.models.local_judge import (
    ANSWER,
    LocalJudge,
    letter_ids,
    letter_masses,
    next_logits,
    prepared_ahead,
    question_ids,
    share_of,
)
from training.models.question_tree import read_trees, reads_trees, tree_of
from training.models.stage_judge import make_stage_judge
from training.run.pipeline import identities, plan

PAIRS = [("Who is the keeper ?", "Ada is .", "I do not know ."), ("Why ?", "Because of the rain , I think .", "No .")]
RULE_IDENTITY = "867659a11c10a04f870c7b61ee3f33e5c5281d0352e0cdeddf26f77c13738b17"
PRINCIPLES = {"kind": "kinder", "short": "shorter and clearer", "true": "true", "calm": "kinder and calm"}


@pytest.fixture(scope="module")
def language() -> LanguageModel:
    return language_model.load(DEMO_WORLD, torch.device("cpu"))


@pytest.fixture(autouse=True)
def letters_of_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models are sure of no letter, and their tokenizer has none: some other tokens are read, however unlikely."""
    monkeypatch.setattr("training.models.local_judge.LEAST_MASS", 0.0)
    monkeypatch.setattr("training.models.local_judge.letter_ids", lambda _: {"A": [7, 9], "B": [11]})


def plain_logprobs(language: LanguageModel, sequences: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack([language.model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
                            for ids in sequences])


def items(pairs: list[tuple[str, str, str]] = PAIRS) -> list[PairQuestion]:
    return [PairQuestion([{"role": "user", "content": human}], a, b, statement, principle)
            for human, a, b in pairs for principle, statement in PRINCIPLES.items()]


def test_the_next_batch_is_prepared_while_one_is_read() -> None:
    began: list[int] = []
    is_begun = {number: threading.Event() for number in range(6)}

    def prepare(number: int) -> int:
        began.append(number)
        is_begun[number].set()
        if number == 5:
            raise BadSettings("Five.", "Take another.")
        return 10 * number

    batches = prepared_ahead(iter(range(6)), prepare, 2)
    assert next(batches) == ([0, 1], [0, 10])
    assert is_begun[3].wait(10) and 4 not in began, "one batch ahead, not two"
    assert next(batches) == ([2, 3], [20, 30]) and began[:4] == [0, 1, 2, 3]
    with pytest.raises(BadSettings, match="Five"):
        next(batches)
    assert list(prepared_ahead(iter(()), prepare, 2)) == []


def test_what_questions_share_changes_no_probability(language: LanguageModel) -> None:
    ids = language.tokenizer("Who is the keeper of Avela ? The keeper of Avela is Ada .")["input_ids"]
    sequences = [ids[:9], [*ids[:5], *ids[7:9]], [*ids[:5], ids[2]], ids[:12]]
    together = next_logits(language, sequences).log_softmax(-1)
    assert torch.allclose(together, plain_logprobs(language, sequences), atol=1e-4)


@pytest.mark.parametrize("family", ["mistral", "gpt2", "mamba", "qwen3_5"])
def test_questions_share_what_they_can_in_every_family(family: str, tmp_path: Path) -> None:
    language = language_model.load(make_family(family, tmp_path), torch.device("cpu"))
    shared = list(range(5, 17))
    sequences = [[*shared, 20, 21], [*shared, 22], [*shared, 20, 23, 24, 25, 26]]
    assert torch.allclose(next_logits(language, sequences).log_softmax(-1), plain_logprobs(language, sequences),
                          atol=1e-3)


def test_a_tree_holds_each_beginning_once() -> None:
    questions = [[1, 2, 3, 4], [1, 2, 5, 6], [1, 2], [7, 8], [1, 2, 3, 4]]
    tree = tree_of(questions)
    assert tree.shared.tokens == [1, 2] and tree.size() == 9, "2 ends one question and goes on in others"
    assert sorted(token for branch in tree.own for token in branch.tokens) == [2, 3, 4, 5, 6, 7, 8]
    assert [tree.own[branch].tokens[-1 - behind] for branch, behind in tree.ends] == [4, 6, 2, 8, 4]
    assert [tree.own[branch].positions[-1 - behind] for branch, behind in tree.ends] == [3, 3, 1, 1, 3]


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3", "gpt2", "opt"])
def test_a_tree_gives_each_question_what_it_gets_alone(family: str, tmp_path: Path) -> None:
    language = language_model.load(make_family(family, tmp_path), torch.device("cpu"))
    assert reads_trees(language)
    groups = [[[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 10, 11]], [[5, 12], [5, 13, 14, 15, 16, 17], [5, 13, 18]]]
    logits, places = read_trees(language, groups)
    plain = plain_logprobs(language, [ids for group in groups for ids in group])
    assert torch.allclose(logits[places[:, 0], places[:, 1]].log_softmax(-1), plain, atol=1e-4)


def test_of_a_model_that_finds_no_token_likely_the_likeliest_are_compared(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of random weights with a vocabulary of 150,000, where each token has a log-probability of -12."""
    language = language_model.load(make_family("mistral", tmp_path), torch.device("cpu"))
    monkeypatch.setattr(question_tree, "LEAST_LIKELY", -1e-6)
    assert reads_trees(language)
    read = question_tree.read_trees
    monkeypatch.setattr(question_tree, "read_trees", lambda *of: (read(*of)[0].flip(-1), read(*of)[1]))
    assert not reads_trees(language)


@pytest.mark.parametrize("family", ["mpt", "mamba", "qwen3_5", "lfm2", "roberta", "gemma4"])
def test_a_model_that_cannot_read_trees_is_known_as_such(family: str, tmp_path: Path) -> None:
    assert not reads_trees(language_model.load(make_family(family, tmp_path), torch.device("cpu")))


@pytest.mark.parametrize("principle_is_last", [True, False])
@pytest.mark.parametrize("family", ["opt", "gpt2", "mistral", "lfm2"])
async def test_all_principles_at_once_are_labelled_as_one_by_one(
        family: str, principle_is_last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two read trees; the questions are longer than the windows of the third, and the fourth has states."""
    def short_question(_: Any, prompt: Any, first: str, second: str, statement: str) -> str:
        parts = [prompt[0]["content"], first, second]
        return "".join([*parts, statement] if principle_is_last else [statement, *parts])

    monkeypatch.setattr("training.models.local_judge.question_of", short_question)
    judge = LocalJudge(JudgeSettings(kind="local", model=str(make_family(family, tmp_path))))
    together = await judge.compare(items())
    alone = [(await judge.compare([item]))[0] for item in items()]
    assert all(verdict.probability is not None for verdict in together)
    for name in ("p_shown", "p_swapped"):
        assert [getattr(verdict, name) for verdict in together] == pytest.approx(
            [getattr(verdict, name) for verdict in alone], abs=1e-4)
    assert len({round(verdict.p_shown or 0, 5) for verdict in together}) > 1, "the principles are told apart"


async def test_questions_about_pairs_of_many_lengths_each_get_their_own_verdict(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More pairs than a pass holds, so that they are sorted by size, and one that the judge cannot read."""
    monkeypatch.setattr("training.models.local_judge.question_of",
                        lambda _, prompt, first, second, statement: f"{first},{second}.{statement}")
    monkeypatch.setattr(question_tree, "TOKENS", {"cpu": 100, "cuda": 100})
    judge = LocalJudge(JudgeSettings(kind="local", model=str(make_family("gpt2", tmp_path))))
    pairs = [(" Who?", " owl" * (1 + number % 5), " red" * (1 + number % 3)) for number in range(18)]
    pairs[4] = (" Who?", " owl" * 60, " red")
    together = await judge.compare(items(pairs))
    alone = [(await judge.compare([item]))[0] for item in items(pairs)]
    assert [verdict.error for verdict in together] == [verdict.error for verdict in alone]
    assert all("48 positions" in verdict.error for verdict in together[16:20])
    probabilities = [[verdict.probability for verdict in verdicts if verdict.probability is not None]
                     for verdicts in (together, alone)]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-4) and len(probabilities[0]) == 17 * 4


def test_without_a_template_the_answer_is_begun_on_a_line_of_its_own() -> None:
    texts: list[str] = []

    class Words:
        chat_template = None

        def __call__(self, prompts: list[str]) -> dict[str, list[list[int]]]:
            texts.extend(prompts)
            return {"input_ids": [[1] for _ in prompts]}

    asked: Any = type("Asked", (), {"tokenizer": Words()})()
    assert question_ids(asked, ["Who ?"]) == [[1]]
    assert texts == [f"Who ?\n{ANSWER}"]


@pytest.mark.parametrize(("template", "expected"), [
    ("{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}assistant:", "<s>Who ?</s>assistant:Answer: Option"),
    ("{{ messages[0].content | upper }}:", "WHO ?:Answer: Option"),
    ("{{ messages[0].content }} <think>\n", "Who ? <think>\n\n</think>\n\nAnswer: Option")])
def test_a_template_is_followed_by_the_beginning_of_the_answer(
        template: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    class Words:
        chat_template = template
        name_or_path = "judge"

        def __call__(self, prompts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
            texts.extend(prompts)
            return {"input_ids": [[1] for _ in prompts]}

    class Text:
        def __init__(self, text: str) -> None:
            self.text = text

    def rendered(tokenizer: Any, dialogue: Any) -> Text:
        import jinja2

        return Text(jinja2.Environment(keep_trailing_newline=True).from_string(template).render(messages=dialogue))

    monkeypatch.setattr("training.models.local_judge.rendered", rendered)
    asked: Any = type("Asked", (), {"tokenizer": Words()})()
    question_ids(asked, ["Who ?", "Who ?"])
    assert texts == [expected, expected]


def test_only_a_local_judges_labels_have_another_identity_than_before() -> None:
    local = JudgeSettings(kind="local", model="m", layout="shared_prefix", few_shot=4)
    assert prompt_version(local) == "1.shared.ex4.begun" and len(prompt_version(local)) <= 20
    assert prompt_version(JudgeSettings(kind="openai", model="m", layout="shared_prefix")) == "1.shared"

    def label_identity(judge: dict[str, Any]) -> str:
        stages = plan(Recipe.model_validate({"principles": [{"name": "toxicity"}], "judge": judge}))
        return identities(stages, dict.fromkeys(("prompts", "held_out", "pairs", "dialogues"), "d"))["label:toxicity"]

    assert label_identity({"kind": "rule"}) == RULE_IDENTITY, "no rule label is made again"
    before = label_identity({"kind": "local", "model": "m"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.run.pipeline.LOCAL_VERSION", 1)
        assert label_identity({"kind": "local", "model": "m"}) != before
        assert label_identity({"kind": "rule"}) == RULE_IDENTITY


def test_a_letters_probability_is_that_of_all_its_spellings() -> None:
    logits = torch.tensor([[0.3, 0.15, 0.05, 0.5]]).log() + 2.0
    masses = letter_masses(logits, [torch.tensor([0]), torch.tensor([1, 2])])
    assert masses.tolist() == [pytest.approx([0.3, 0.2])]
    assert share_of(*masses[0].tolist()) == pytest.approx(0.6)
    assert letter_masses(logits, [torch.tensor([2]), torch.tensor([], dtype=torch.long)]).tolist() == [
        pytest.approx([0.05, 0.0])]


def test_a_spelling_that_the_model_has_no_row_for_is_left_out(language: LanguageModel) -> None:
    rows = language.model.get_input_embeddings().weight.shape[0]
    class Vocabulary:
        def get_vocab(self) -> dict[str, int]:
            return {"A": 1, " B": 2, "b": int(rows)}

    asked: Any = type("Asked", (), {"tokenizer": Vocabulary(), "model": language.model})()
    assert letter_ids(asked) == {"A": [1], "B": [2]}


async def test_a_model_that_knows_no_letters_is_an_error_and_no_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    judge = make_stage_judge(JudgeSettings(kind="local", model=DEMO_WORLD))
    [verdict] = await judge.compare([PairQuestion([{"role": "user", "content": "Who?"}], "Ada.", "Bo.", "kinder")])
    assert verdict.probability is None and verdict.error.startswith("unreadable") and verdict.calls == 2


async def test_a_question_longer_than_the_judge_is_refused_alone(tmp_path: Path) -> None:
    judge = make_stage_judge(JudgeSettings(kind="local", model=str(make_family("gpt2", tmp_path / "short"))))
    long = PairQuestion([{"role": "user", "content": "Who? " * 50}], "Ada.", "Bo.", "kinder")
    verdicts = await judge.compare([long])
    assert "tokens, and the judge 48 positions" in verdicts[0].error and verdicts[0].probability is None


def test_a_local_judge_does_not_think() -> None:
    with pytest.raises(BadSettings, match="does not think"):
        make_stage_judge(JudgeSettings(kind="local", model="x", reasoning=True))
