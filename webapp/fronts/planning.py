"""What a front is going to be: which policies, how many answers and verdicts, at what price; before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.http import QueryDict

from training.config import JudgeSettings, Recipe
from training.errors import BadData, BadSettings, TrainingError
from training.judges.estimate import Estimate, estimate
from training.judges.identity import judge_name, judge_title
from training.judges.prompt import question_of
from training.judges.verdict_ledger import bought_keys
from webapp.accounts.models import Team
from webapp.accounts.numbers import row_key
from webapp.fronts import points
from webapp.fronts.held_out import HeldOut, held_out_of
from webapp.fronts.points import Candidate
from webapp.playground.models import PolicyMix
from webapp.playground.selectors import CannotMix, FinishedRun, Policies, policies_of
from webapp.runs.head_to_head.questions import Question, questions_of
from webapp.runs.head_to_head.verdicts import Contest, items_of, ledger_path
from webapp.runs.models import Run

USUAL_PROMPTS = 200
USUAL_CHECKPOINTS = 8
SAMPLE = 200  # questions that the estimate is made from


@dataclass(frozen=True)
class Chosen:
    """What the address names; what it names and nobody knows is as if it were not there."""

    checkpoints: int = 0
    grid: int = 0
    other: FinishedRun | None = None
    line: int = points.MOST_ON_A_LINE
    mixes: tuple[PolicyMix, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What the address asks for.

    Attributes:
        evaluations: by the place of a candidate, the evaluation that has its answers.
        missing: verdicts to buy of answers that are known; of those still to be generated `unknown` is the most.
        estimate: of the calls for the most that will be bought; None where nothing is paid.
    """

    run: Run
    policy: FinishedRun
    policies: Policies
    recipe: Recipe
    chosen: Chosen
    candidates: list[Candidate]
    evaluations: Mapping[int, HeldOut]
    questions: list[Question]
    offered: list[Question]
    held_out: HeldOut
    prompts: int
    missing: int
    estimate: Estimate | None
    name: str
    judge_title: str
    problems: list[str] = field(default_factory=list)

    @property
    def answers(self) -> int:
        """Answers to generate."""
        return (len(self.candidates) - len(self.evaluations)) * self.prompts

    @property
    def unknown(self) -> int:
        """Verdicts on answers that are still to be generated, at most: nobody is asked about equal answers."""
        return self.answers * sum(question.is_judged for question in self.questions)

    @property
    def verdicts(self) -> int:
        return self.missing + self.unknown

    @property
    def priced(self) -> bool:
        return bool(self.recipe.judge.price_in or self.recipe.judge.price_out)

    @property
    def names(self) -> list[str]:
        return [question.name for question in self.questions]

    @property
    def grids(self) -> dict[int, int]:
        return points.grids_of(self.policy)

    @property
    def partners(self) -> list[FinishedRun]:
        return points.partners_of(self.policy, self.policies)

    @property
    def mixes(self) -> list[PolicyMix]:
        return points.mixes_for(self.policy, self.policies)

    @property
    def numbers_on_a_line(self) -> range:
        return range(points.FEWEST_ON_A_LINE, points.MOST_ON_A_LINE + 1)

    @property
    def numbers_of_checkpoints(self) -> range:
        return range(min(len(self.policy.kept), points.MOST_CHECKPOINTS) + 1)


def plan_of(*, team: Team, run: Run, query: QueryDict) -> Plan:
    """What the query chooses: `checkpoints`, `grid`, `other` with `line`, `mix`, `q`, `prompts`, `name`.

    Raises:
        BadSettings, BadData: this run has no front.
    """
    policies = policies_of(team.pk)
    policy = next((known for known in policies.runs if known.run == run.pk), None)
    if policy is None:
        raise BadData(f"Run #{run.pk} has no trained policy yet.", "Wait until its PPO stage is done.")
    recipe, held_out = run.stored.recipe, held_out_of(run)
    chosen = _chosen(policy, policies, query)
    prompts = max(1, min(row_key(query.get("prompts", "")) or USUAL_PROMPTS, len(held_out.prompts)))
    partner = Run.objects.of(team).filter(pk=chosen.other.run).first() if chosen.other else None
    offered = questions_of([recipe, *([partner.stored.recipe] if partner else [])])
    named = set(query.getlist("q"))
    questions = [question for question in offered if question.name in named] or offered
    if recipe.judge.kind == "local" and any(question.is_judged for question in questions):
        raise BadSettings("The judge of this run is a model on the workers' own machine, which only stages can ask.",
                          "Choose a run that a server judges, or vote on the policies in an arena.")
    candidates = _candidates(policy, chosen)
    evaluations = _evaluations(candidates, held_out, policy, partner, prompts)
    missing = _missing(team, recipe.judge, questions, evaluations, prompts)
    unknown = (len(candidates) - len(evaluations)) * prompts * sum(question.is_judged for question in questions)
    title = judge_name(recipe.judge)
    return Plan(run, policy, policies, recipe, chosen, candidates, evaluations, questions, offered, held_out, prompts,
                missing, _estimate(held_out, questions, recipe.judge, missing + unknown),
                query.get("name", "").strip()[:200] or f"Front of {run.name}"[:200],
                "the demo world’s rules" if title == "rule" else judge_title(title),
                _problems(policies, candidates, [run, *([partner] if partner else [])]))


def _chosen(policy: FinishedRun, policies: Policies, query: QueryDict) -> Chosen:
    grids = points.grids_of(policy)
    if "prompts" not in query:  # the page is just opened
        usual = max(grids, default=0)
        return Chosen(checkpoints=min(USUAL_CHECKPOINTS, len(policy.kept)), grid=usual,
                      other=_partner(policy, policies, query))
    wanted = set(query.getlist("mix"))
    grid = row_key(query.get("grid", "")) or 0
    return Chosen(
        checkpoints=min(row_key(query.get("checkpoints", "")) or 0, len(policy.kept), points.MOST_CHECKPOINTS),
        grid=grid if grid in grids else 0, other=_partner(policy, policies, query),
        line=min(max(row_key(query.get("line", "")) or 0, points.FEWEST_ON_A_LINE), points.MOST_ON_A_LINE),
        mixes=tuple(mix for mix in points.mixes_for(policy, policies) if str(mix.pk) in wanted))


def _partner(policy: FinishedRun, policies: Policies, query: QueryDict) -> FinishedRun | None:
    wanted = row_key(query.get("other", ""))
    return next((other for other in points.partners_of(policy, policies) if other.run == wanted), None)


def _candidates(policy: FinishedRun, chosen: Chosen) -> list[Candidate]:
    line = points.line_between(policy, chosen.other, chosen.line) if chosen.other else []
    own = [] if chosen.other else [points.end_of(policy)]  # a line begins with it
    return points.each_once([*line, *points.grid_of(policy, chosen.grid),
                             *points.checkpoints_of(policy, chosen.checkpoints), *own,
                             *map(points.of_mix, chosen.mixes)])


def _evaluations(candidates: Sequence[Candidate], held_out: HeldOut, policy: FinishedRun, partner: Run | None,
                 prompts: int) -> dict[int, HeldOut]:
    """The ends of runs whose own evaluations answered the same prompts in the same way."""
    known = {policy.tuned.key: held_out}
    if partner is not None:
        try:
            theirs = held_out_of(partner).answers_like(held_out, prompts)
        except TrainingError:  # it is evaluated here then
            theirs = None
        if theirs is not None:
            known[f"tuned:{partner.pk}"] = theirs
    return {place: known[candidate.parts[0][0]] for place, candidate in enumerate(candidates)
            if candidate.is_single and candidate.parts[0][0] in known}


def _missing(team: Team, judge: JudgeSettings, questions: Sequence[Question], evaluations: Mapping[int, HeldOut],
             prompts: int) -> int:
    bought = bought_keys(ledger_path(team.pk, judge)) if evaluations else set()
    asked = {key for theirs in evaluations.values()
             for key in items_of(Contest(theirs.own(prompts), questions, judge, with_base=True))}
    return len(asked - bought)


def _estimate(held_out: HeldOut, questions: Sequence[Question], judge: JudgeSettings,
              verdicts: int) -> Estimate | None:
    """From the questions about the run's own answers, which those of its other policies are about as long as."""
    if judge.kind == "rule" or not verdicts:
        return None
    asked = [(prompt, held_out.policy[place], held_out.base[place], question.statement)
             for place, prompt in enumerate(held_out.prompts) for question in questions if question.is_judged]
    texts = [question_of(judge, *item) for item in asked[::max(1, len(asked) // SAMPLE)]]
    calls = verdicts * (2 if judge.both_orders else 1)
    return estimate(texts, judge, len(texts) / calls) if texts else None


def _problems(policies: Policies, candidates: Sequence[Candidate], runs: Sequence[Run]) -> list[str]:
    """Why it cannot start, in words."""
    problems = []
    if len(candidates) > points.MOST_POINTS:
        problems.append(f"{len(candidates)} policies are chosen, and a front has at most {points.MOST_POINTS}. Choose "
                        "fewer.")
    if len(candidates) < 2:
        problems.append("Only the run's own policy is chosen, which its evaluation knows already. Choose checkpoints, "
                        "a grid, a second run or a mix.")
    for candidate in candidates:
        if not candidate.is_single:
            try:
                policies.mixed(candidate.parts)
            except (CannotMix, LookupError):
                problems.append(f"“{candidate.label}” cannot be mixed any more: a policy of it was deleted, or has "
                                "another base. Leave it out.")
    if any(not candidate.is_single for candidate in candidates):
        problems += [f"Every weight of the policy of “{run.name}” was trained; it has no adapter to mix. Choose runs "
                     "with 'policy.lora'." for run in runs if run.recipe.get("policy", {}).get("lora", {}) is None]
    return problems
