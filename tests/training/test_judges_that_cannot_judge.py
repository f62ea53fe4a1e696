"""A judge that cannot judge stops the run before more is spent: by its order flips, and by what is learnt from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.training.scripted_server import Reply, Script, letters, options, serving
from tests.training.stage_folders import events, job, pair, run
from training.config import Recipe
from training.errors import JudgeContradictsItself, NoBetterThanCoin
from training.quality.chance import LEAST, chance_problem
from training.quality.cross_fit import cross_card, cross_fit, is_open
from training.quality.label_verdict import FIRST_LOOK, LabelVerdict
from training.run.artifacts import Job, read_json, read_jsonl, write_json, write_jsonl
from training.run.jobs import runtime_of
from training.run.pipeline import identities, plan
from training.stages import label, preference_model, weights

SEEDS = range(20)
COIN = [pair(number) for number in range(120)]
GOOD = [pair(number, f"Good answer {number}.", f"Bad answer {number}.") for number in range(60)]


def always_a(*_: Any) -> Reply:
    return letters(0.97)


def right_in(share: float, seed: int) -> Script:
    """A judge that names the good answer in this share of its answers, each order drawn anew."""
    draws = random.Random(seed)

    def script(body: Any, _: int) -> Reply:
        is_right = draws.random() < share
        return letters(0.97 if options(body)[0].startswith("Good") == is_right else 0.03)

    return script


def asking(base_url: str, folder: Path, *, principle: str = "toxicity", pairs: list[dict[str, Any]] | None = None,
           runtime: Mapping[str, Any] | None = None, known: list[dict[str, Any]] | None = None, **judge: Any) -> Job:
    settings = {"judge": {"kind": "openai", "model": "judge-7b", "base_url": base_url, **judge},
                "principle": principle, "statement": "less toxic", "seed": 0}
    files = {"known_labels": known} if known else {}
    return job("label", folder, settings, pairs=pairs or GOOD, runtime={"judge": {"concurrency": 1, **(runtime or {})}},
               **files)


def test_a_judge_that_always_says_a_stops_after_fifty_pairs_and_its_labels_are_kept(tmp_path: Path) -> None:
    with serving(always_a) as server:
        for _ in range(2):  # the second time it stops before it asks for anything
            with pytest.raises(JudgeContradictsItself) as stopped:
                run(label.run, asking(server.base_url, tmp_path), tmp_path)
            assert len(server.requests) == 100
        cause, remedy = stopped.value.cause, stopped.value.remedy
        host = server.base_url.removeprefix("http://").removesuffix("/v1")
        assert f"judge-7b at {host} contradicts itself on 'toxicity': on 100% (93% to 100%) of 50 pairs" in cause
        assert "name a winner on 0% (0% to 7%) of 50 pairs" in cause and "'judge.most_flips' is 0.6" in cause
        assert "another judge" in remedy and "'judge.most_flips: 1'" in remedy and "kept" in remedy
        assert not (tmp_path / "labels.jsonl").exists()
        run(label.run, asking(server.base_url, tmp_path, runtime={"most_flips": 1}), tmp_path)
        assert len(server.requests) == 120  # ten pairs more, in both orders
    assert len(list(read_jsonl(tmp_path / "labels.jsonl"))) == 60
    said = [event["message"] for event in events(tmp_path, "log") if "so far" in event["message"]]
    assert said[0] == ("the labels of toxicity so far: order flips 100% (93% to 100%) of 50 pairs, decided 0% "
                       "(0% to 7%) of 50 pairs, mean confidence 0.50 (0.50 to 0.50)")


def test_the_requests_in_flight_are_paid_for_and_recorded_when_it_stops(tmp_path: Path) -> None:
    with serving(always_a) as server:
        with pytest.raises(JudgeContradictsItself):
            run(label.run, asking(server.base_url, tmp_path, runtime={"concurrency": 8}), tmp_path)
        labels, first_orders = len(events(tmp_path, "label")), len(events(tmp_path, "answer"))
        assert 50 <= labels <= first_orders <= 58 and len(server.requests) == labels + first_orders


@pytest.mark.parametrize("share", [0.5, 0.6, 1.0])
def test_judges_of_any_other_kind_are_labelled_to_the_end(share: float, tmp_path: Path) -> None:
    """Also the coin: its flips are half of all, as those of a judge that is right in 60 %, so the models must tell."""
    with serving(right_in(share, seed=1)) as server:
        run(label.run, asking(server.base_url, tmp_path), tmp_path)
        assert len(server.requests) == 120
    looks = [event["message"] for event in events(tmp_path, "log") if "so far" in event["message"]]
    assert len(looks) == 2 and "of 50 pairs" in looks[0] and "of 60 pairs" in looks[1]


@pytest.mark.parametrize(("judge", "pairs"), [({"both_orders": False}, GOOD), ({}, GOOD[:FIRST_LOOK - 1])])
def test_one_order_alone_cannot_flip_and_few_pairs_say_nothing(
        judge: dict[str, Any], pairs: list[dict[str, Any]], tmp_path: Path) -> None:
    with serving(always_a) as server:
        run(label.run, asking(server.base_url, tmp_path, pairs=pairs, **judge), tmp_path)
    assert len(list(read_jsonl(tmp_path / "labels.jsonl"))) == len(pairs)


def test_labels_that_a_sibling_made_are_judged_by_principle(tmp_path: Path) -> None:
    """They come as known labels: those of toxicity all flip, those of detail never do."""
    def row(digest: str, principle: str, swapped: float) -> dict[str, Any]:
        return {"pair": digest, "principle": principle, "probability": (0.9 + swapped) / 2, "p_shown": 0.9,
                "p_swapped": swapped, "order_gap": 0.9 - swapped, "judge": "x", "prompt_version": "1", "error": "",
                "tokens": 1, "model": "x"}

    known = [row(item["digest"], *asked) for item in GOOD for asked in (("toxicity", 0.1), ("detail", 0.9))]
    with serving(always_a) as server:
        other = tmp_path / "detail"
        run(label.run, asking(server.base_url, other, principle="detail", known=known), other)
        with pytest.raises(JudgeContradictsItself, match="of 60 pairs"):
            run(label.run, asking(server.base_url, tmp_path, known=known), tmp_path)
        assert server.requests == []


def test_the_bound_of_fifty_pairs_by_hand() -> None:
    # Wilson for 32 of 50 begins at 0.501, for 31 at 0.482.
    flips = {count: LabelVerdict(50, 0, 25.0, 12.5, 50, count) for count in (31, 32)}
    assert not flips[31].flips_too_often(0.6) and flips[32].flips_too_often(0.6)
    assert not flips[32].flips_too_often(0.65) and not flips[32].flips_too_often(1)
    assert flips[31].flips_too_often(0.4)  # a stricter bound asks to be surely above itself, not above one half
    assert flips[32].flip_share.low == pytest.approx(0.501, abs=0.001)
    sure = LabelVerdict(4, 2, 0.5 + 0.5 + 1 + 1, 0.25 + 0.25 + 1 + 1, 4, 0).mean_confidence
    assert sure.value == 0.75 and sure.high - sure.value == pytest.approx(1.96 * 0.25 / 2, abs=1e-3)


def test_healthy_judges_never_stop_the_labels() -> None:
    """Twenty label stages each for judges that flip on up to 40 % of the pairs, and the count for a thousand."""
    def stops(flip_rate: float, seed: int, n: int) -> bool:
        draws = random.Random(f"{flip_rate} {seed} {n}")
        return LabelVerdict(n, 0, 0, 0, n, sum(draws.random() < flip_rate for _ in range(n))).flips_too_often(0.6)

    for flip_rate in (0.0, 0.1, 0.2, 0.3, 0.4):
        assert not any(stops(flip_rate, seed, n) for seed in SEEDS for n in (50, 600))
    assert sum(stops(0.4, seed, 50) for seed in range(1000)) <= 3
    assert all(stops(0.8, seed, 50) for seed in SEEDS)


# What is learnt from the labels --------------------------------------------------------------------------------------


def card(accuracy: float, decided: int, held_out: int = 0) -> dict[str, Any]:
    return {"accuracy": accuracy, "decided": decided, "held_out": held_out or decided}


def test_four_models_that_a_coin_labelled_stop_together_where_each_alone_says_too_little() -> None:
    cards = {name: card(0.5, 45, 90) for name in ("a", "b", "c", "d")}
    problem = chance_problem(cards)
    assert problem is not None and problem.principles == ("a", "b", "c", "d")
    assert "they agree with 50% (43% to 57%) of 180 labels (a, b, c, d)" in problem.cause
    assert chance_problem({"a": cards["a"]}) is None


def test_the_level_of_the_test_by_hand() -> None:
    # One-sided at 5 %: 0.5 + 1.645 * sqrt(0.25 / 400) = 0.541.
    assert chance_problem({"a": card(0.540, 400)}) is not None and chance_problem({"a": card(0.545, 400)}) is None
    assert chance_problem({"a": card(0.5, LEAST - 1)}) is None


def test_one_model_of_no_use_among_good_ones_is_named() -> None:
    problem = chance_problem({"good": card(0.9, 600), "bad": card(0.48, 600)})
    assert problem is not None and problem.principles == ("bad",) and "'bad' is of no use" in problem.cause
    assert chance_problem({"good": card(0.9, 600), "weak": card(0.55, 600)}) is None


def test_labels_of_which_none_names_a_winner_stop_it_too() -> None:
    problem = chance_problem({"a": card(0.5, 0, 90), "b": card(0.5, 1, 90)})
    assert problem is not None and "Only 1 of 180 labels name a winner" in problem.cause
    assert chance_problem({"a": card(0.5, 0, 20)}) is None and chance_problem({}) is None


def run_of(agreement: Mapping[str, float], labels: int, seed: int) -> dict[str, dict[str, Any]]:
    """Cards of models that agree with each label by chance, with these probabilities."""
    draws = random.Random(f"{seed} {labels}")
    return {name: card(sum(draws.random() < share for _ in range(labels)) / labels, labels)
            for name, share in agreement.items()}


def test_a_coin_stops_a_judge_right_in_60_percent_goes_on_and_a_healthy_one_is_never_stopped() -> None:
    """The agreements are those of the demo preset's models (docs/design-notes.md), the weak judge's the mean of four on
    its worse seed. The closer look has 310 decided labels of each principle, the held-out part of healthy models 50."""
    coin = dict.fromkeys(("factuality", "toxicity", "sycophancy", "conciseness"), 0.5)
    weak = dict.fromkeys(coin, 0.547)
    healthy = {"factuality": 0.98, "toxicity": 0.97, "sycophancy": 0.91, "conciseness": 0.96}
    stops = [sum(chance_problem(run_of(agreement, labels, seed)) is not None for seed in SEEDS)
             for agreement, labels in ((coin, 310), (weak, 310), (healthy, 50))]
    assert stops[0] >= 18 and stops[1] <= 2 and stops[2] == 0


class Pair(NamedTuple):
    digest: str
    prompt: str
    labels: tuple[float | None, ...]


def test_every_pair_is_scored_once_by_a_model_that_never_saw_its_prompt(tmp_path: Path) -> None:
    pairs = [Pair(str(number), f"prompt {number // 2}", (1.0 if number < 150 else 0.5, None)) for number in range(200)]
    parts: list[int] = []

    def differences(training: list[Pair], part: list[Pair], number: int) -> list[list[float]]:
        assert not {item.prompt for item in training} & {item.prompt for item in part}
        assert len(training) + len(part) == 200
        parts.append(number)
        return [[1.0 if int(item.digest) < 90 else -1.0, 0.0] for item in part]

    scored = cross_fit(pairs, 0, tmp_path / "folds.json", differences)
    assert parts == [0, 1, 2, 3] and set(scored) == {item.digest for item in pairs}
    assert cross_card(pairs, scored, 0) == {"cross_labels": 200, "cross_decided": 150, "cross_accuracy": 0.6}
    assert cross_card(pairs, scored, 1) == {} and cross_card(pairs, {}, 0) == {}
    assert cross_fit(pairs, 0, tmp_path / "folds.json", differences) == scored and len(parts) == 4  # resumed at its end
    # The held-out labels of this card would stop it; all 150 of them, of which 90 agree, do not.
    assert chance_problem({"a": card(0.5, 120) | cross_card(pairs, scored, 0)}) is None


def test_it_is_looked_closer_only_where_held_out_labels_leave_it_open() -> None:
    many = [1.0] * 300
    assert is_open([1.0, -1.0] * 20, [1.0] * 40, many)  # 20 of 40 agree
    assert not is_open([1.0] * 40, [1.0] * 40, many)  # all agree
    assert not is_open([1.0, -1.0] * 20, [1.0] * 40, [1.0] * (LEAST - 1))  # all labels together are too few
    assert not is_open([1.0, -1.0] * 250, [1.0] * 500, many)  # enough to tell


def test_a_stage_looks_closer_at_labels_that_a_coin_drew(tiny_base: Path, tmp_path: Path) -> None:
    draws = random.Random(3)
    labels = [{"pair": item["digest"], "probability": float(draws.random() < 0.5)} for item in COIN]
    settings = {"base": str(tiny_base), "epochs": 1, "batch_size": 32, "max_length": 16, "held_out": 0.2,
                "lora": {"r": 2, "alpha": 4, "dropout": 0.0}}
    common = {"seed": 0, "device": "cpu", "precision": "fp32", "principle": "toxicity", "preference_model": settings}
    off, measured, judged = {"stop_at_chance": False}, {"measured": ["toxicity"]}, {"measured": ["brevity"]}
    for runtime in (off, measured, judged):  # a measure draws no lots: that its model is weak is no doubt of its labels
        made = job("preference_model", tmp_path, common, pairs=COIN, labels=labels, runtime=runtime)
        run(preference_model.run, made, tmp_path)
        stored = read_json(tmp_path / "card.json")
        assert ("cross_labels" in stored) is (runtime is judged)
    assert (stored["cross_labels"], stored["cross_decided"]) == (120, 120) and not (tmp_path / "folds").exists()


@pytest.fixture
def models(tmp_path: Path) -> Callable[..., Job]:
    """A weights stage that reads models with these cards."""
    def make(cards: Mapping[str, Mapping[str, Any]], **runtime: Any) -> Job:
        for name, content in cards.items():
            write_json(tmp_path / name / "card.json", content)
            write_jsonl(tmp_path / name / "scores.jsonl", [{"pair": "1", "z_a": 1.0, "z_b": 0.0, "human": None}])
        return job("weights", tmp_path, {"weights": {"mode": "set"}, "given": dict.fromkeys(cards, 1.0)},
                   inputs={f"preference_model:{name}": tmp_path / name for name in cards}, runtime=runtime)
    return make


def test_the_run_stops_before_ppo_and_goes_on_where_a_person_says_so(
        models: Callable[..., Job], tmp_path: Path) -> None:
    coin = {name: card(0.5, 90) for name in ("a", "b")}
    with pytest.raises(NoBetterThanCoin, match="do no better than a coin") as stopped:
        run(weights.run, models(coin), tmp_path)
    assert "'preference_model.stop_at_chance: false'" in stopped.value.remedy
    assert not (tmp_path / "weights.json").exists()
    run(weights.run, models(coin, stop_at_chance=False), tmp_path)
    assert read_json(tmp_path / "weights.json")["weights"] == {"a": 0.5, "b": 0.5}
    assert [event["code"] for event in events(tmp_path, "warning")] == ["at_chance"]


def test_neither_check_is_part_of_what_a_stage_is() -> None:
    recipe = Recipe.model_validate({"principles": [{"name": "toxicity"}], "data": {"source": "demo-world"}})
    values = recipe.model_dump(mode="json")
    values["judge"]["most_flips"], values["preference_model"]["stop_at_chance"] = 1, False
    off = Recipe.model_validate(values)
    digests = {"prompts": "p", "held_out": "h"}
    assert identities(plan(off), digests) == identities(plan(recipe), digests)
    assert runtime_of(off)["judge"]["most_flips"] == 1 and runtime_of(recipe)["judge"]["most_flips"] == 0.6
    assert runtime_of(off, kind="weights")["stop_at_chance"] is False
