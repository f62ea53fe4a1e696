"""The list of `tests/mutants.py`: faults that a test must notice, each with the behaviour that it breaks."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """`old` stands exactly once in `file` and becomes `new`; `tests` are the files named after its subject."""

    name: str
    behaviour: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


LABELS = ("tests/workers/test_recording_labels.py",)
EVENTS = ("tests/workers/test_recording_odd_events.py",)
CANCELLING = ("tests/webapp/runs/test_cancelling_at_once.py", "tests/webapp/runs/test_services_of_runs.py")
PPO = ("tests/training/test_ppo_stage.py",)
PPO_OPTIONS = ("tests/training/test_ppo_variants.py",)
CURVES = ("tests/webapp/runs/test_curves.py",)
CHANGES = ("tests/webapp/runs/test_changes.py",)
ANSWERS = ("tests/training/test_judge_answers.py",)
PACE = ("tests/training/test_judge_pace.py",)
FORMULAS = ("tests/training/test_policy_gradient.py",)
REAPING = ("tests/workers/test_reaping.py",)
PLAYGROUND = ("tests/webapp/playground/test_policies_to_choose_from.py",)

MUTATIONS = (
    # Recording what a stage reports ------------------------------------------------------------------------------
    Mutation("label-stays-as-bought", "a good label that comes again stays as it was bought", "workers/labels.py",
             'elif before.failed and event["probability"]', 'elif event["probability"]', LABELS),
    Mutation("label-of-own-pair", "two teams with the same pair label each their own", "workers/labels.py",
             "owner=team_id, digest__in", "digest__in", LABELS),
    Mutation("label-of-other-question", "an error is mended by an answer to the same question", "workers/labels.py",
             'self._judge_of(event), event["prompt_version"]))', 'self._judge_of(event), ""))', LABELS),
    Mutation("batch-recorded-twice", "two recorders with one token record a batch once", "workers/recording.py",
             """status=Stage.Status.RUNNING,
                                    events_offset=self._stage.events_offset)""", "status=Stage.Status.RUNNING)",
             EVENTS),
    # Who runs a stage --------------------------------------------------------------------------------------------
    Mutation("stopped-stage-claimed", "a message for a stage that was cancelled in the queue starts nothing",
             "workers/leases.py", "status=Stage.Status.QUEUED).update(",
             "status__in=[Stage.Status.QUEUED, Stage.Status.STOPPED]).update(",
             ("tests/workers/test_supervising_a_stage.py",)),
    Mutation("shared-with-ended-run", "cancelling stops a stage that only ended runs use besides",
             "webapp/runs/scheduling.py", "RunStage.objects.filter(run__status=Run.Status.RUNNING)",
             "RunStage.objects.exclude(run=run)", CANCELLING),
    # PPO ---------------------------------------------------------------------------------------------------------
    Mutation("last-checkpoint", "killed after its last phase, PPO does not learn that phase again",
             "training/stages/ppo.py",
             "if learner.step % settings.checkpoint_every == 0 or learner.step == settings.steps:",
             "if learner.step % settings.checkpoint_every == 0:", PPO),
    Mutation("reward-clip-below", "a reward below the clip is clipped too", "training/stages/ppo.py",
             "clamp(-settings.reward_clip, settings.reward_clip)", "clamp(max=settings.reward_clip)", PPO),
    Mutation("drift-per-token", "the KL that ends the epochs is a mean per token", "training/stages/ppo.py",
             "float(total[3] / total[5])", "float(total[3])", PPO_OPTIONS),
    Mutation("drift-of-last-epoch", "the KL that ends the epochs is that of the last epoch alone",
             "training/stages/ppo.py", "approx_kl(sums[first:])", "approx_kl(sums)", PPO_OPTIONS),
    Mutation("short-tail", "a stop string is found though it is cut into many tokens", "training/models/rollouts.py",
             "max(0, step - 15)", "max(0, step - 3)", ("tests/training/test_rollouts.py",)),
    Mutation("quantile-rounding", "rounding errors take no further principle into the lower quantile",
             "training/reward/scalarization.py", "principles * quantile - 1e-9", "principles * quantile",
             ("tests/training/test_scalarization.py",)),
    # Live curves -------------------------------------------------------------------------------------------------
    Mutation("carry-between-blocks", "smoothing goes on from block to block without a seam",
             "webapp/runs/series/curves.py", "weight ** np.arange(1, block + 1)", "weight ** np.arange(block)", CURVES),
    Mutation("nan-blanks-maximum", "one NaN does not blank the extremes of its bucket", "webapp/runs/series/curves.py",
             "np.fmax.reduceat", "np.maximum.reduceat", CURVES),
    Mutation("viewer-not-held", "what comes while the past is read is told after it", "webapp/runs/live/hub.py",
             "        viewer.hold()\n", "", ("tests/webapp/runs/test_live_socket.py",)),
    Mutation("log-told-again", "after a snapshot no old log line comes again", "webapp/runs/live/changes.py",
             "position.stages[stage_id].log = last", "pass", CHANGES),
    # Judges ------------------------------------------------------------------------------------------------------
    Mutation("busy-is-not-down", "a server that answers 429 is waited for and is not taken to be down",
             "training/judges/openai_judge.py", "if status != 429:", "if True:",
             ("tests/training/test_judge_on_a_server.py",)),
    Mutation("orders-averaged", "the second order's probability is turned round before it is averaged",
             "training/judges/judge.py", "p_shown, p_swapped = shown.probability, 1 - swapped.probability",
             "p_shown, p_swapped = shown.probability, swapped.probability",
             ("tests/training/test_judge_on_a_server.py",)),
    Mutation("unlikely-letters", "a judge that was about to say something else gives no probability",
             "training/judges/answers.py", 'if mass["A"] + mass["B"] < LEAST_MASS:', "if False:", ANSWERS),
    Mutation("unlisted-letter", "a letter that is not listed is no more likely than the least likely listed token",
             "training/judges/answers.py",
             "unlisted = min(left_over, min(probability for _, probability in listed))", "unlisted = left_over",
             ANSWERS),
    Mutation("both-letters", "an explanation that names the other letter too is no answer",
             "training/judges/answers.py", "return None if other_letter else letter", "return letter", ANSWERS),
    Mutation("window-halves-once", "one overload halves the window once", "training/judges/rate_controller.py",
             "if now - self._halved_at >= SETTLE:", "if True:", PACE),
    Mutation("wait-of-the-server", "a server that asks for a wait gets it", "training/judges/rate_controller.py",
             "self._held_until = max(self._held_until, now + min(wait, LONGEST_WAIT))", "pass", PACE),
    Mutation("budget-counts-what-is-asked", "a budget counts the answers that are asked for now",
             "training/judges/spending.py", "spent.calls + calls > settings.budget_calls",
             "spent.calls > settings.budget_calls", PACE),
    Mutation("judge-at-its-address", "a judge on a server is its model at its address",
             "training/judges/identity.py",
             'name = f"openai:{settings.model}@{server_url(settings.base_url)}"', 'name = f"openai:{settings.model}"',
             ("tests/training/test_judge_identity.py",)),
    Mutation("private-address", "an IPv4 address inside an IPv6 one is looked at", "training/judges/addresses.py",
             "plain = _unwrapped(address)", "plain = address", ("tests/training/test_judge_addresses.py",)),
    Mutation("every-address-checked", "each address of a name is checked, not only the first",
             "training/judges/addresses.py", "        for address in addresses:\n",
             "        for address in addresses[:1]:\n", ("tests/training/test_judge_addresses.py",)),
    Mutation("verdict-torn-by-kill", "a line that a kill tore is cut off the ledger of verdicts",
             "training/judges/verdict_ledger.py", "self._path.write_bytes(complete)", "pass",
             ("tests/training/test_verdicts_are_bought_once.py",)),
    Mutation("price-counted-twice", "the first order's price is not counted twice",
             "training/judges/verdict_ledger.py", 'if row["key"] in self._first_orders:', "if False:",
             ("tests/training/test_verdicts_are_bought_once.py",)),
    Mutation("label-of-other-principle", "labels of another principle are not taken for this one's",
             "training/judges/label_ledger.py",
             'if row and row["principle"] == self._principle:', "if row:",
             ("tests/training/test_labelling_pairs.py", "tests/training/test_labelling_survives.py")),
    Mutation("newer-version-misread", "what a newer version says otherwise is left out", "training/run/events.py",
             "1 <= value <= EVENT_VERSION", "1 <= value", ("tests/training/test_events_of_every_version.py",)),
    Mutation("later-field-refused", "a field that an older version did not write has its default",
             "training/run/event_stream.py", "event[name] = default.value", 'raise NoEvent(f"has no {name}")',
             ("tests/training/test_events_of_every_version.py",)),
    # Formulas ----------------------------------------------------------------------------------------------------
    Mutation("reward-on-last-token", "the last token of a response earns its reward", "training/ppo/policy_gradient.py",
             "last = mask.sum(dim=1).long() - 1", "last = mask.sum(dim=1).long() * 0", FORMULAS),
    Mutation("advantage-discount", "the advantage of later tokens is discounted by gamma and lambda",
             "training/ppo/policy_gradient.py", "delta + gamma * lam * following_advantage",
             "delta + lam * following_advantage", FORMULAS),
    Mutation("clip-is-pessimistic", "the clipped surrogate takes the worse of the two",
             "training/ppo/policy_gradient.py", "(torch.maximum(plain, clipped) * mask)",
             "(torch.minimum(plain, clipped) * mask)", FORMULAS),
    Mutation("value-clip", "the value's loss takes the worse of the two errors", "training/ppo/policy_gradient.py",
             "torch.maximum((values - returns).square(), (near - returns).square())", "(near - returns).square()",
             FORMULAS),
    Mutation("kl-error-clip", "the error of the adaptive KL coefficient is clipped", "training/ppo/policy_gradient.py",
             "min(max(kl / target - 1, -0.2), 0.2)", "kl / target - 1", FORMULAS),
    Mutation("undecided-label", "a label at one half chose nobody", "training/preference_models/losses.py",
             "torch.where(label == 0.5, 0.5, (label > 0.5).to(label.dtype))", "(label > 0.5).to(label.dtype)",
             ("tests/training/test_label_losses.py",)),
    Mutation("tie-counts-half", "a tie is half a win", "training/quality/win_rates.py", "(wins + ties / 2)",
             "(wins + ties)", ("tests/training/test_win_rates.py",)),
    Mutation("undecided-not-counted", "labels near one half do not count in the accuracy",
             "training/quality/calibration.py", "if abs(label - 0.5) >= DECIDED]", "]",
             ("tests/training/test_calibration.py",)),
    Mutation("reward-standardised", "scores are centred before they are scalarized", "training/reward/rewards.py",
             "(raw - self._scorer.mean) / self._scorer.std", "raw / self._scorer.std", PPO),
    # What a stage makes and what a text may hold -----------------------------------------------------------------
    Mutation("inputs-in-identity", "a stage is another one where what it reads is", "training/run/pipeline.py",
             '"inputs": {role: by_name[name] for role, name in stage.inputs.items()},', '"inputs": {},', CANCELLING),
    Mutation("leftover-of-a-write", "a write that failed leaves no file behind", "training/run/artifacts.py",
             "        os.unlink(temporary)\n", "        pass\n", ("tests/training/test_writing_files.py",)),
    Mutation("lone-surrogate", "half an emoji cannot be stored", "training/text.py", "[\\x00\\ud800-\\udfff]",
             "[\\x00]", ("tests/training/test_text_that_can_be_stored.py",)),
    Mutation("turn-inside-a-line", "a speaker's name inside a line ends no reply", "training/dialogue.py",
             'r"^(?:Human|Assistant):"', 'r"(?:Human|Assistant):"', ("tests/training/test_where_a_reply_ends.py",)),
    Mutation("generator-restored", "a resumed run draws the numbers that the undisturbed one draws",
             "training/ppo/learner.py", 'learner.generator.set_state(state["generator"])', "pass", PPO),
    # Workers and the database ------------------------------------------------------------------------------------
    Mutation("cancelled-without-worker", "a stage that was cancelled while its worker was gone is not queued again",
             "workers/reaping.py", "if stage.stop_requested:", "if False:", REAPING),
    Mutation("clock-set-back", "a lease written by a clock that was set back does not hold for hours",
             "workers/reaping.py", " or now - since > patience:", ":", REAPING),
    Mutation("late-point", "a point that comes late makes open pages start over", "webapp/runs/series/writer.py",
             "self.late_points += tail.put(step, value, time)", "tail.put(step, value, time)",
             ("tests/webapp/runs/test_series_are_written_whole.py", *EVENTS)),
    Mutation("failed-run-begins-nothing", "after a failure nothing new begins", "webapp/runs/scheduling.py",
             "if ready and not failed and", "if ready and", CANCELLING),
    Mutation("rewind-voids-cursor", "a cursor from before a rewind is void", "webapp/runs/live/changes.py",
             "if cursor.rewinds != stage.rewinds:", "if False:", CHANGES),
    Mutation("run-of-another-team", "labels are filtered by the team's own runs", "webapp/runs/labels_of_run.py",
             "run = Run.objects.of(team).filter(pk=run_id).first()", "run = Run.objects.filter(pk=run_id).first()",
             ("tests/webapp/labels/test_table_of_labels.py",)),
    Mutation("judge-of-another-team", "a form takes no saved judge of another team", "webapp/judges/selectors.py",
             "return Connection.objects.of(team).filter(pk=key).first()",
             "return Connection.objects.filter(pk=key).first()",
             ("tests/webapp/judges/test_choosing_a_saved_judge.py",)),
    Mutation("policy-of-another-team", "nobody talks to a policy of another team", "webapp/playground/selectors.py",
             "run__team_id=team_id, stage__team_id=team_id, ", "", PLAYGROUND),
)
