"""Compare the tuned policy with its base on prompts that neither was trained on.

Both answer every held-out prompt, drawing the same random numbers; the judge that labelled the pairs says which answer
is better, over all and on each principle; a measured principle is decided by its measure. Where there is one, what the
measures and the preference models say before and after is reported too. The base is the policy that PPO began with,
after its fine-tuning if there was one: the same weights with the adapter off, or what they were before all of them were
trained. On request, the best of n of the base's answers by the reward is compared with the base as well: what can be
had without training.

Each verdict is written to a file as soon as it arrives: a restart samples the same answers and buys no verdict twice.

Left out: more than two policies, people's votes, several samples per prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from training.config import Evaluate, Policy
from training.dialogue import Dialogue
from training.errors import BadData
from training.judges.choose import judge_settings
from training.judges.judge import PairQuestion, StreamingJudge, Verdict
from training.judges.measure_judge import measured_verdicts, overall_by_weight
from training.judges.verdict_ledger import VerdictLedger, buy_verdicts
from training.models import full_weights, language_model, rollouts
from training.models.language_model import LanguageModel
from training.models.stage_judge import make_stage_judge
from training.ppo import best_of_n
from training.quality.win_rates import win_rate
from training.reward.loading import load_rewards
from training.run.artifacts import Job, read_jsonl, write_json, write_jsonl
from training.run.references import references_of
from training.run.reporting import Reporter
from training.stages.before_and_after import means_of_measures, opinions_of_models

BATCH = 64
EXAMPLES = 50
VERDICTS = "verdicts.jsonl"


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Write report.json: `overall` and `principles` (win rates with n and interval), up to 50 `examples`, and where a
    principle is measured, `measures` and `opinions` (see `before_and_after`); and answers.jsonl, one row per prompt
    with its verdicts, so that policies of other runs can be compared with this one.

    Raises:
        BadData: there are no held-out prompts.
        JudgeUnavailable: the judge cannot be reached.
        BudgetSpent: the next verdict would cost more than the settings allow.
    """
    settings = Evaluate.model_validate(job.settings["evaluate"])
    policy = Policy.model_validate(job.settings["policy"])
    prompts: list[Dialogue] = [row["prompt"] for row in read_jsonl(job.files["held_out"])][: settings.prompts]
    if not prompts:
        raise BadData("There are no held-out prompts to compare on.", "Raise 'data.held_out'.")
    base = job.inputs["sft"] / "model" if "sft" in job.inputs else policy.base
    language = language_model.load(base, language_model.pick_device(job.settings["device"]), job.settings["precision"])
    language = full_weights.load_tuned(language, full_weights.tuned_folder(job.inputs["ppo"]))
    seed = job.settings["seed"]
    tuned = answer(language, prompts, settings, seed, reporter, done=0)
    with language_model.reference(language):
        plain = answer(language, prompts, settings, seed, reporter, done=len(prompts), adapted=False)
    ledger = VerdictLedger(folder / VERDICTS, judge_settings(job))
    try:
        judge = make_stage_judge(judge_settings(job), spent=ledger.spent)
        verdicts = all_verdicts(job, judge, ledger, prompts, tuned, plain, reporter)
        best = against_best_of_n(job, settings, language, judge, ledger, prompts, plain, reporter)
    finally:
        ledger.close()
    report = make_report(prompts, tuned, plain, verdicts)
    if measured := job.settings.get("measured", {}):
        measures = {name: judge["measure"] for name, judge in measured.items()}
        report["measures"] = means_of_measures(measures, prompts, tuned, plain, references_of(job))
        report["opinions"] = opinions_of_models(job, language.device, prompts, tuned, plain)
    rates = {"win_rate/overall": report["overall"]["win_rate"]}
    if best is not None:
        report["best_of_n"] = best
        rates["win_rate/best_of_n"] = best["overall"]["win_rate"]
    write_json(folder / "report.json", report)
    write_jsonl(folder / "answers.jsonl", (
        {"prompt": prompts[i], "policy": tuned[i], "base": plain[i],
         "verdicts": {name: column[i].probability for name, column in verdicts.items()}} for i in range(len(prompts))))
    reporter.metric(1, rates | {f"win_rate/{name}": rate["win_rate"] for name, rate in report["principles"].items()})
    for name, column in verdicts.items():
        missing = sum(verdict.probability is None for verdict in column)
        if missing:
            reporter.warning("no_verdict", f"The judge gave no verdict on {missing} of {len(column)} pairs ({name}).")
    reporter.artifact("report", "report.json")


def answer(
    language: LanguageModel, prompts: Sequence[Dialogue], settings: Evaluate, seed: int, reporter: Reporter,
    done: int, adapted: bool = True,
) -> list[str]:  # fmt: skip
    """One answer per prompt; each batch of prompts has its own seed, the same for every policy."""
    sampling = rollouts.Sampling(settings.max_new_tokens, settings.temperature)
    answers: list[str] = []
    with language_model.merged(language) if adapted else nullcontext():
        for start in range(0, len(prompts), BATCH):
            ids, mask = rollouts.pad_prompts(language, prompts[start : start + BATCH], settings.max_new_tokens)
            generator = torch.Generator().manual_seed(seed * 1_000_003 + start)
            answers += rollouts.texts(language, rollouts.generate(language, ids, mask, sampling, generator))
            reporter.progress(done + len(answers), 2 * len(prompts), "answer")
            reporter.checkpoint_if_stopped(lambda: None)
    return answers


def all_verdicts(
    job: Job, judge: StreamingJudge, ledger: VerdictLedger, prompts: Sequence[Dialogue], tuned: Sequence[str],
    plain: Sequence[str], reporter: Reporter,
) -> dict[str, list[Verdict]]:  # fmt: skip
    """The verdicts of `ask` on the judged principles, and those of their measures on the others.

    Where every principle is measured no judge is asked, and "overall" is the mean by weight.
    """
    principles, measures = job.settings["principles"], job.settings.get("measured", {})
    measured = measured_verdicts(measures, prompts, tuned, plain, references_of(job))
    judged = {name: statement for name, statement in principles.items() if name not in measures}
    if judged:
        verdicts = measured | ask(judge, ledger, prompts, tuned, plain, judged, reporter)
    else:
        shares = job.settings["shares"]
        rewarded = {name: column for name, column in measured.items() if name in shares}  # all but the gauges
        verdicts = measured | {"overall": overall_by_weight(rewarded, shares)}
    return {name: verdicts[name] for name in ("overall", *principles)}


def ask(
    judge: StreamingJudge, ledger: VerdictLedger, prompts: Sequence[Dialogue], tuned: Sequence[str],
    plain: Sequence[str], principles: dict[str, str], reporter: Reporter,
) -> dict[str, list[Verdict]]:  # fmt: skip
    """The judge's verdicts on every pair, tuned answer first: by principle, and under "overall".

    Equal answers are ties, and the judge is not asked about them. A stop takes effect between two requests.
    """
    even = Verdict(0.5, 0.5, 0.5, 0.0, "", 0, "")
    differing = [i for i in range(len(prompts)) if tuned[i] != plain[i]]
    questions: list[tuple[str, str, str | None]] = [("overall", "", None)]
    questions += [(name, statement, name) for name, statement in principles.items()]
    # All questions about a pair in a row: a judge that keeps what it has read reads the pair once.
    items = [PairQuestion(prompts[i], tuned[i], plain[i], statement, principle)
             for i in differing for _, statement, principle in questions]
    done = sum(ledger.verdict(item) is not None for item in items)

    def on_verdict() -> None:
        nonlocal done
        done += 1
        if done % max(1, len(items) // 50) == 0 or done == len(items):
            reporter.progress(done, len(items), "question")

    verdicts = buy_verdicts(judge, items, ledger, on_verdict, lambda: reporter.checkpoint_if_stopped(lambda: None),
                            lambda text: reporter.warning("judge", text))
    by_question: dict[str, list[Verdict]] = {}
    for place, (key, _, _) in enumerate(questions):
        by_prompt = dict(zip(differing, verdicts[place::len(questions)], strict=True))
        by_question[key] = [by_prompt.get(i, even) for i in range(len(prompts))]
    return by_question


def against_best_of_n(
    job: Job, settings: Evaluate, language: LanguageModel, judge: StreamingJudge, ledger: VerdictLedger,
    prompts: Sequence[Dialogue], plain: Sequence[str], reporter: Reporter,
) -> dict[str, Any] | None:  # fmt: skip
    """The base with the reward choosing among n of its answers: `n`, `kl` (a bound), rewards, and win rates; None
    where `best_of` is 0."""
    if not settings.best_of:
        return None
    rewarded = job.model_copy(update={"settings": job.settings | {"principles": job.settings["rewarded"]}})
    rewards_of = load_rewards(rewarded, language.device, reporter)
    if not rewards_of.constraints.use_learnt(job.inputs["ppo"]):
        reporter.warning("multipliers_unknown", "The multipliers that this policy was trained with were not kept: best "
                         "of n is chosen with those that the training began with.")
    sampling = rollouts.Sampling(settings.max_new_tokens, settings.temperature)

    def on_batch(done: int) -> None:
        reporter.progress(done, len(prompts), "best answer")
        reporter.checkpoint_if_stopped(lambda: None)

    best = best_of_n.draw(language, prompts, settings.best_of, sampling, rewards_of, job.settings["seed"], on_batch)
    verdicts = all_verdicts(job, judge, ledger, prompts, best.responses, plain, reporter)
    rates = {name: win_rate([verdict.probability for verdict in column])._asdict() for name, column in verdicts.items()}
    return {"n": settings.best_of, "kl": best_of_n.kl_bound(settings.best_of), "reward": best.reward,
            "reward_of_all": best.reward_of_all, "overall": rates.pop("overall"), "principles": rates}


def make_report(
    prompts: Sequence[Dialogue], tuned: Sequence[str], plain: Sequence[str], verdicts: dict[str, list[Verdict]]
) -> dict[str, Any]:
    """What report.json holds."""
    probabilities = {name: [verdict.probability for verdict in column] for name, column in verdicts.items()}
    rates = {name: win_rate(column)._asdict() for name, column in probabilities.items()}
    overall = probabilities.pop("overall")
    examples = [
        {
            "prompt": prompts[i],
            "policy": tuned[i],
            "base": plain[i],
            "overall": overall[i],
            "principles": {name: column[i] for name, column in probabilities.items()},
        }
        for i in range(min(EXAMPLES, len(prompts)))
    ]
    return {"overall": rates.pop("overall"), "principles": rates, "examples": examples}
