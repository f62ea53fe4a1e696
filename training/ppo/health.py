"""Health of a training run: warnings where its numbers go wrong while the reward may still look well. Torch-free.

A run can end in success and be worthless: the policy has found what the preference models like and people do not. These
rules read the metrics that a stage reports anyway, and warn, each once per episode: a rule that has warned is quiet
until its number has come back to a milder bound (hysteresis), so that a curve along a bound gives one warning, not
fifty. Nothing is ever stopped. A warning names the step and the samples that show it best.

    not_a_number      a reported number is NaN or infinite
    kl_blow_up        KL above 2.5 times its target; where it is not steered, above 0.5 nats per token
    entropy_collapse  entropy under a fifth of what it was at the start
    length_drift      responses twice as long, or half as long, as at the start
    principles_apart  a principle fell by 0.5 from its best while another rose
    judge_apart       the judge's win rate fell from its best while the reward rose: over-optimisation

Over-optimisation of a proxy: Gao et al., arXiv 2210.10760. The bounds are ours. Left out: tests of significance (the
bounds lie well over the noise of a batch of 64), and any action.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from training.config import Ppo
from training.dialogue import Dialogue
from training.errors import JudgeUnavailable
from training.judges.choose import judge_settings
from training.judges.judge import Judge, PairQuestion
from training.models.stage_judge import make_stage_judge
from training.quality.win_rates import win_rate
from training.run.artifacts import Job
from training.run.event_stream import read_events
from training.run.events import AnswerBody, LabelBody, MetricEvent, SampleEvent, SiblingLabelBody
from training.run.reporting import Reporter

SMOOTH = 5
"""A level is the mean of so many points: a single odd batch does not warn."""

WORST = 3
"""So many samples are named."""


FOLLOWED = {"kl/mean", "policy/entropy", "response/length", "reward/total"}


class Finding(NamedTuple):
    """What is wrong: a code for programs, a sentence for people, the principle that it is about if there is one."""

    code: str
    message: str
    principle: str = ""


class _Level:
    """A number over the steps: how high it was at the start and how high it is now, both means over a few points."""

    def __init__(self) -> None:
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=SMOOTH)

    def add(self, value: float) -> None:
        self._last.append(value)
        if len(self._first) < SMOOTH:
            self._first.append(value)

    @property
    def known(self) -> bool:
        return len(self._last) == SMOOTH

    @property
    def start(self) -> float:
        return math.fsum(self._first) / len(self._first)

    @property
    def now(self) -> float:
        return math.fsum(self._last) / len(self._last)


class _Best(NamedTuple):
    """The highest level so far, its step, and how high other numbers were then."""

    level: float
    step: int
    others: dict[str, float]


class _BestJudged(NamedTuple):
    """The judge's highest win rate so far, its step, and the level of the reward then."""

    win_rate: float
    step: int
    reward: float


class RuleResult(NamedTuple):
    """What a rule says at a step: the warning it would give, whether it fires, whether its number has recovered."""

    finding: Finding
    fires: bool
    recovered: bool


class Watch:
    """The rules over one run's metrics. `look` is called once per step, in the order of the steps.

    Args:
        kl_target: the KL to hold, in nats per response; None where it is not steered.
    """

    def __init__(self, kl_target: float | None) -> None:
        self._kl_target = kl_target
        self._levels: dict[str, _Level] = defaultdict(_Level)
        self._best: dict[str, _Best] = {}  # by principle
        self._best_judged: _BestJudged | None = None
        self._under_way: set[tuple[str, str]] = set()

    def look(self, step: int, values: Mapping[str, float]) -> list[Finding]:
        """The warnings whose rules begin to fire at this step."""
        for tag, value in values.items():
            if math.isfinite(value) and (tag in FOLLOWED or _principle_of(tag)):
                self._levels[tag].add(value)
        new: list[Finding] = []
        for finding, fires, recovered in self._results(step, values):
            key = (finding.code, finding.principle)
            if fires and key not in self._under_way:
                self._under_way.add(key)
                new.append(finding)
            elif recovered:
                self._under_way.discard(key)
        return new

    def _results(self, step: int, values: Mapping[str, float]) -> list[RuleResult]:
        """The result of every rule that can be applied."""
        results = [_numbers(values)]
        for tag, rule in (("kl/mean", self._kl), ("policy/entropy", self._entropy), ("response/length", self._length)):
            if tag in values and self._levels[tag].known:
                results.append(rule())
        names = {name: tag for tag in values if (name := _principle_of(tag)) and self._levels[tag].known}
        now = {name: self._levels[tag].now for name, tag in names.items()}
        if not any(tag.startswith("conditioned/") for tag in values):  # there a phase's shares move every principle
            results += [self._principle(step, name, now) for name in names]
        if "judge/win_rate" in values:
            results.append(self._judge(step, values["judge/win_rate"], values.get("judge/pairs", 1.0)))
        return results

    def _kl(self) -> RuleResult:
        kl = self._levels["kl/mean"].now
        if self._kl_target is not None:
            bound, text = 2.5 * self._kl_target, f"2.5 times its target of {self._kl_target:g}"
        else:
            length = self._levels["response/length"]
            bound = 0.5 * (length.now if length.known else math.inf)
            text = "half a nat per token"
        return RuleResult(Finding("kl_blow_up", (
            f"The KL to the reference is {kl:.1f} nats per response, above {text}: the policy is where no preference "
            "model has seen it. Raise 'ppo.kl.coefficient' or lower 'ppo.learning_rate'."),
            ), kl > bound, kl < 0.6 * bound)

    def _entropy(self) -> RuleResult:
        level = self._levels["policy/entropy"]
        return RuleResult(Finding("entropy_collapse", (
            f"The entropy is {level.now:.2f} nats per token, {level.start:.2f} at the start: the policy gives the same "
            "answers again and again. Raise 'ppo.kl.coefficient' or stop earlier."),
            ), level.now < 0.2 * level.start, level.now > 0.3 * level.start)

    def _length(self) -> RuleResult:
        level = self._levels["response/length"]
        start, now = level.start, level.now
        return RuleResult(Finding("length_drift", (
            f"Responses have {now:.0f} tokens, {start:.0f} at the start: a preference model may pay for length. Look "
            "at the samples and at each preference model's correlation with length."),
            ), now > 2 * start or now < 0.5 * start, start / 1.6 < now < 1.6 * start)

    def _principle(self, step: int, name: str, now: Mapping[str, float]) -> RuleResult:
        """Scores are standardised: 1 is the spread of the answers that the preference model learnt from."""
        if name not in self._best or now[name] >= self._best[name].level:
            self._best[name] = _Best(now[name], step, dict(now))
        best = self._best[name]
        fall = best.level - now[name]
        rises = {other: now[other] - level for other, level in best.others.items() if other != name and other in now}
        riser = max(rises, key=lambda other: rises[other], default=name)
        rise = rises.get(riser, 0.0)
        finding = Finding("principles_apart", (
            f"{name} has fallen by {fall:.2f} from its best at step {best.step} while {riser} rose by {rise:.2f}: one "
            f"is bought with the other. Raise the weight of {name}, or choose a scalarization that minds the worst "
            "principle."), name)
        return RuleResult(finding, fall >= 0.5 and rise >= 0.25, fall < 0.25)

    def _judge(self, step: int, rate: float, pairs: float) -> RuleResult:
        reward = self._levels["reward/total"].now if self._levels["reward/total"].known else 0.0
        if self._best_judged is None or rate >= self._best_judged.win_rate:
            self._best_judged = _BestJudged(rate, step, reward)
        best = self._best_judged
        # Two standard errors of the difference of two shares of so many answers, at the widest.
        bound = max(0.1, 2 * math.sqrt(2 * 0.25 / max(1.0, pairs)))
        fall, rise = best.win_rate - rate, reward - best.reward
        finding = Finding("judge_apart", (
            f"The judge prefers the policy to its start in {rate:.0%} of the samples, {best.win_rate:.0%} at step "
            f"{best.step}, while the reward rose by {rise:.2f}: the reward is being gamed. Stop at about step "
            f"{best.step}, or raise 'ppo.kl.coefficient'."))
        return RuleResult(finding, fall > bound and rise > 0, fall < bound / 2)


def _numbers(values: Mapping[str, float]) -> RuleResult:
    not_finite = sorted(tag for tag, value in values.items() if not math.isfinite(value))
    message = f"No finite number: {', '.join(not_finite)}. Lower 'ppo.learning_rate' if it stays so."
    return RuleResult(Finding("not_a_number", message), bool(not_finite), not not_finite)


def _principle_of(tag: str) -> str:
    """The principle that a tag gives the standardised score of, or ""."""
    first, _, rest = tag.partition("/")
    name, _, kind = rest.rpartition("/")
    return name if first == "principle" and kind == "standardised" else ""


class SampleJudge:
    """Compares the policy's answers to the followed prompts with its first ones. A judge that no reward is made of.

    Args:
        prompts: those the stage follows, by the index of their samples.
    """

    def __init__(self, judge: Judge, prompts: Sequence[Dialogue]) -> None:
        self._judge, self._prompts = judge, prompts
        self._first: dict[int, str] = {}
        self._now: dict[int, str] = {}

    def saw(self, step: int, index: int, response: str) -> bool:
        """Keep an answer; whether the report that it belongs to is complete and can be compared."""
        if step == 0:
            self._first[index] = response
            return False
        self._now[index] = response
        return index == len(self._prompts) - 1 and len(self._first) == len(self._prompts)

    def rate(self) -> dict[str, float]:
        """The metrics `judge/win_rate`, ties counted half, and `judge/pairs`, how many answers were judged.

        Raises:
            JudgeUnavailable: the judge cannot be reached.
        """
        differing = [index for index, answer in sorted(self._now.items()) if answer != self._first[index]]
        items = [PairQuestion(self._prompts[index], self._now[index], self._first[index]) for index in differing]
        verdicts = asyncio.run(self._judge.compare(items)) if items else []
        even = [0.5] * (len(self._now) - len(differing))
        result = win_rate([*even, *(verdict.probability for verdict in verdicts)])
        return {"judge/win_rate": result.win_rate, "judge/pairs": float(result.n)}


class _Seen(TypedDict):
    """What is remembered of a sample."""

    step: int
    response: str
    reward: float
    rewards: dict[str, float]


class WatchedReporter:
    """A Reporter that hands everything on and adds the warnings of a `Watch` to it.

    Args:
        inner: where everything goes.
        watch: fresh; each metric goes through it.
        past: the report file of earlier attempts: what it holds up to the step of a rewind is looked at again, in
            silence, so that a resumed run neither forgets its start nor warns of the same thing twice.
        judge: compares each report of samples with the first one, where the run asks for that.
    """

    def __init__(self, inner: Reporter, watch: Callable[[], Watch], past: Path | None = None,
                 judge: SampleJudge | None = None) -> None:
        self._inner, self._new, self._past = inner, watch, past
        self._watch = watch()
        self._judge = judge
        self._samples: dict[int, _Seen] = {}

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        self._inner.metric(step, values)
        for finding in self._watch.look(step, values):
            self._inner.warning(finding.code, finding.message + self._shown_by(finding), step)

    def sample(self, step: int, index: int, prompt: str, response: str, reward: float,
               rewards: Mapping[str, float]) -> None:
        self._inner.sample(step, index, prompt, response, reward, rewards)
        self._samples[index] = {"step": step, "response": response, "rewards": dict(rewards), "reward": reward}
        if self._judge is not None and self._judge.saw(step, index, response):
            try:
                self.metric(step, self._judge.rate())
            except JudgeUnavailable as error:  # the run goes on: its policy does not need the judge
                self._inner.warning("no_judge", f"The judge did not compare the samples: {error}", step)

    def rewind(self, step: int) -> None:
        self._inner.rewind(step)
        self._watch = self._new()
        for event in _earlier_events(self._past, step):
            if event["kind"] == "metric":
                self._watch.look(event["step"], event["values"])
            else:
                self._samples[event["index"]] = event
                if self._judge is not None:
                    self._judge.saw(event["step"], event["index"], event["response"])

    def _shown_by(self, finding: Finding) -> str:
        """Where to look: the samples that are worst in what the finding is about, numbered from 1 as on the page."""
        if not self._samples:
            return ""

        def worst(index: int) -> float:
            sample = self._samples[index]
            if finding.principle:
                return float(sample["rewards"].get(finding.principle, 0.0))
            return -float(len(sample["response"]) if finding.code == "length_drift" else sample["reward"])

        chosen = sorted(sorted(self._samples, key=worst)[:WORST])
        step = max(self._samples[index]["step"] for index in chosen)
        return f" See samples {', '.join(str(index + 1) for index in chosen)} of step {step}."

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        self._inner.progress(done, total, unit)

    def label(self, label: LabelBody) -> None:
        self._inner.label(label)

    def sibling_label(self, label: SiblingLabelBody) -> None:
        self._inner.sibling_label(label)

    def answer(self, answer: AnswerBody) -> None:
        self._inner.answer(answer)

    def artifact(self, name: str, path: str) -> None:
        self._inner.artifact(name, path)

    def log(self, message: str, level: str = "info") -> None:
        self._inner.log(message, level)

    def warning(self, code: str, message: str, step: int = 0) -> None:
        self._inner.warning(code, message, step)

    def checkpoint_if_stopped(self, save: Callable[[], None]) -> None:
        self._inner.checkpoint_if_stopped(save)


def with_health_watch(reporter: Reporter, job: Job, folder: Path, prompts: Sequence[Dialogue]) -> WatchedReporter:
    """The reporter of a ppo stage with the health watch in it; `folder` is the stage's, `prompts` those it follows."""
    settings = Ppo.model_validate(job.settings["ppo"])
    target = settings.kl.target if settings.kl.adaptive and settings.algorithm == "ppo" else None
    judge = SampleJudge(make_stage_judge(judge_settings(job)), prompts) if settings.judge_samples and prompts else None
    return WatchedReporter(reporter, lambda: Watch(target), folder / "events.jsonl", judge)


def _earlier_events(past: Path | None, step: int) -> list[MetricEvent | SampleEvent]:
    """Metrics and samples of earlier attempts up to a step, each step's last report of it."""
    if past is None or not past.is_file():
        return []
    events: list[MetricEvent | SampleEvent] = []
    for _, event in read_events(past, "metric", "sample", "rewind"):
        if event["kind"] == "rewind":
            events = [earlier for earlier in events if earlier["step"] <= event["step"]]
        elif event["kind"] == "metric" or event["kind"] == "sample":
            events.append(event)
    return [event for event in events if event["step"] <= step]
