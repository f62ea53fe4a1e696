"""Mutations of data, runs and quality: what needs neither torch nor a judge."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

ANSWERS_OF_PROMPTS = "tests/training/test_answers_of_prompts.py"
BASELINES = "tests/training/test_baselines.py"
CALIBRATION = "tests/training/test_calibration.py"
CHECKS = "tests/training/test_checks.py"
DATA_FILES_OF_A_RUN = "tests/training/test_data_files_of_a_run.py"
DATA_FORMATS = "tests/training/test_data_formats.py"
DOMINANCE = "tests/training/fronts/test_dominance.py"
EVENTS_OF_EVERY_VERSION = "tests/training/test_events_of_every_version.py"
HOSTILE_FILES = "tests/training/test_hostile_files.py"
HYPERVOLUME = "tests/training/fronts/test_hypervolume.py"
HYPERVOLUME_INTERVALS = "tests/training/fronts/test_hypervolume_intervals.py"
PARTS_OF_A_PROMPT = "tests/training/test_parts_of_a_prompt.py"
QUALITY_CARDS = "tests/training/test_quality_cards.py"
RECORDING_ODD_EVENTS = "tests/workers/test_recording_odd_events.py"
RUNNING_A_SWEEP = "tests/training/sweep/test_running_a_sweep.py"
WEIGHTS_OF_PRINCIPLES = "tests/training/test_weights_of_principles.py"
WHAT_A_SWEEP_RUNS = "tests/training/sweep/test_what_a_sweep_runs.py"
WHAT_A_SWEEP_VARIES = "tests/training/sweep/test_what_a_sweep_varies.py"
WIN_RATES = "tests/training/test_win_rates.py"

DATA: tuple[Mutation, ...] = (
    # training/run ---------------------------------------------------------------------------------------------------
    Mutation("newer-version-misread", "what a newer version says otherwise is left out", "training/run/events.py",
             "1 <= value <= EVENT_VERSION", "1 <= value", (EVENTS_OF_EVERY_VERSION,)),
    Mutation("share-above-one", "a probability above 1 is none", "training/run/events.py", "and 0 <= value <= 1)",
             "and 0 <= value)", ("tests/training/test_odd_lines_of_a_stream.py",)),
    Mutation("later-field-refused", "a field that an older version did not write has its default",
             "training/run/event_stream.py", "event[name] = default.value", 'raise NoEvent(f"has no {name}")',
             (EVENTS_OF_EVERY_VERSION,)),
    Mutation("line-read-before", "a line that was read before is no new event", "training/run/event_stream.py",
             '        if event["seq"] > last_seq:\n', "        if True:\n", (RECORDING_ODD_EVENTS,)),
    Mutation("torn-line-looked-at-once", "a line without an end is not read again until it grows",
             "training/run/event_stream.py", "self._torn_at = -1 if end else size", "self._torn_at = -1",
             (RECORDING_ODD_EVENTS,)),
    Mutation("inputs-in-identity", "a stage is another one where what it reads is", "training/run/pipeline.py",
             '"inputs": {role: by_name[name] for role, name in stage.inputs.items()},', '"inputs": {},',
             ("tests/webapp/runs/test_cancelling_at_once.py", "tests/webapp/runs/test_services_of_runs.py")),
    Mutation("repetition-draws-anew", "a repetition draws its PPO anew", "training/run/pipeline.py",
             'common | {"seed": recipe.seed + recipe.repeat}', 'common | {"seed": recipe.seed}', (BASELINES,)),
    Mutation("answers-in-identity", "a reward by reference answers is another one with other answers",
             "training/run/pipeline.py", '("prompts", *_references(recipe, *direct.values(), *charted.values()))',
             '("prompts",)', (ANSWERS_OF_PROMPTS,)),
    Mutation("few-answers-pass", "data with answers to fewer than half of its prompts is refused",
             "training/data/data_files.py", "2 * answered < max(total, 1)", "answered < 0", (ANSWERS_OF_PROMPTS,)),
    Mutation("any-answer-counts", "a response is compared with the answer to its own prompt",
             "training/run/references.py", "self._by_digest.get(digest_of(prompt))",
             "next(iter(self._by_digest.values()))", (ANSWERS_OF_PROMPTS,)),
    Mutation("leftover-of-a-write", "a write that failed leaves no file behind", "training/run/artifacts.py",
             "        os.unlink(temporary)\n", "        pass\n", ("tests/training/test_writing_files.py",)),
    Mutation("negative-share-turns", "the label of a principle with a negative weight is turned round",
             "training/run/baselines.py",
             "return _turned(dict(rows[name])) if shares[name] < 0 else dict(rows[name])", "return dict(rows[name])",
             (BASELINES,)),
    Mutation("pooled-by-share", "labels are pooled by the shares of their principles", "training/run/baselines.py",
             "math.fsum(abs(shares[name]) * probability for name, probability",
             "math.fsum(probability for name, probability", (BASELINES,)),
    Mutation("draw-by-pair", "which principle labels a pair follows from the pair", "training/run/baselines.py",
             'digest_of([seed, "draw", pair])', 'digest_of([seed, "draw"])', (BASELINES,)),
    Mutation("reserved-name", "no principle has a name that the report uses", "training/run/checks.py",
             "if choice.name in RESERVED:", "if False:", (CHECKS,)),
    Mutation("room-for-a-prompt", "a response as long as the model leaves no room for a prompt",
             "training/run/checks.py", "if longest is not None and tokens >= longest:",
             "if longest is not None and tokens > longest:", (CHECKS,)),
    Mutation("as-long-as-the-model", "a preference model may read as much as its base can", "training/run/checks.py",
             "if reads is not None and max_length > reads:", "if reads is not None and max_length >= reads:",
             (CHECKS,)),
    Mutation("most-prompts-too-long", "a few prompts that are too long stop no run", "training/run/checks.py",
             "if 2 * len(too_long) > row:", "if too_long:", (CHECKS,)),
    Mutation("scores-without-spread", "a preference model whose scores do not vary is refused",
             "training/run/checks.py", "and math.isfinite(std) and std > 0):", "and math.isfinite(std)):", (CHECKS,)),
    Mutation("room-on-the-disk", "what a run will write has to fit the disk", "training/run/checks.py",
             "if free < needed + MARGIN:", "if free < MARGIN:", (CHECKS,)),
    Mutation("counting-goes-on", "a resumed stage goes on counting where its stream ends",
             "training/run/reporting.py", "self._seq = _repair(path)", "_repair(path)\n        self._seq = 0",
             (RECORDING_ODD_EVENTS,)),
    # training/fronts and training/sweep -------------------------------------------------------------------------------
    Mutation("equal-points-share-their-fate", "equal points do not dominate each other", "training/fronts/dominance.py",
             "keep_weakly=True", "keep_weakly=False", (DOMINANCE,)),
    Mutation("counted-from-the-reference", "a hypervolume is counted from its reference point",
             "training/fronts/hypervolume.py", "(values - worst) * signs", "values * signs", (HYPERVOLUME,)),
    Mutation("prompts-drawn-together", "points that answered the same prompts are drawn together",
             "training/fronts/bootstrap.py", "sample.means(counts[sample.prompts])",
             "sample.means(generator.permuted(counts[sample.prompts], axis=1))", (HYPERVOLUME_INTERVALS,)),
    Mutation("interval-is-mirrored", "what draws lie above the value is taken off below it",
             "training/fronts/bootstrap.py", "min(value, float(2 * value - upper))", "min(value, float(lower))",
             (HYPERVOLUME_INTERVALS,)),
    Mutation("identical-runs-once", "identical recipes are one run", "training/sweep/sweep_plan.py",
             'runs.setdefault(digest_of(recipe.model_dump(mode="json"))', "runs.setdefault(str(place)",
             (WHAT_A_SWEEP_RUNS,)),
    Mutation("shares-of-others-stay", "weights on a simplex keep the sum that they have",
             "training/sweep/combinations.py", "for name in way.principles) or 1.0", "for name in ()) or 1.0",
             (WHAT_A_SWEEP_VARIES,)),
    Mutation("shared-failure-once", "a shared stage that failed is not tried again by the next run",
             "training/sweep/command.py", "failures[result.folders[end.stage]] = result", "pass", (RUNNING_A_SWEEP,)),
    # training/quality -----------------------------------------------------------------------------------------------
    Mutation("tie-counts-half", "a tie is half a win", "training/quality/win_rates.py", "= wins + ties / 2",
             "= wins + ties", (WIN_RATES,)),
    Mutation("a-hair-of-a-half", "a verdict within a hair of a half is a tie", "training/quality/win_rates.py",
             "probability > 0.5 + TIE", "probability > 0.5", (WIN_RATES,)),
    Mutation("undecided-not-counted", "labels near one half do not count in the accuracy",
             "training/quality/calibration.py", "if abs(label - 0.5) >= DECIDED]", "]", (CALIBRATION,)),
    Mutation("even-score-is-half-right", "equal scores are half right", "training/quality/calibration.py",
             "0.5 if difference == 0 else ", "", (CALIBRATION,)),
    Mutation("spread-of-what-was-learnt", "mean and spread are those of what was learnt from",
             "training/quality/quality_card.py", "learnt = [pair for pair in judged if not pair.held_out]",
             "learnt = judged", (QUALITY_CARDS,)),
    Mutation("agreement-on-the-unseen", "agreement with people is measured on pairs that no model has seen",
             "training/quality/quality_card.py", "if pair.held_out and pair.human is not None]",
             "if pair.human is not None]", (QUALITY_CARDS,)),
    Mutation("length-of-the-learnt", "the slope of length is fitted to the training pairs",
             "training/quality/quality_card.py", "if not pair.held_out and pair.label is not None]\n    lengths",
             "if pair.label is not None]\n    lengths", (QUALITY_CARDS,)),
    Mutation("evaluated-on-other-folds", "a row is not evaluated with weights that were fitted to it",
             "training/quality/weight_fit.py", "_fitted(differences[rest], choices[rest])",
             "_fitted(differences, choices)", (WEIGHTS_OF_PRINCIPLES,)),
    Mutation("resampled-rows", "intervals of weights come from resampled rows", "training/quality/weight_fit.py",
             "_fitted(table, chosen, times)", "_fitted(table, chosen)", (WEIGHTS_OF_PRINCIPLES,)),
    # training -------------------------------------------------------------------------------------------------------
    Mutation("lone-surrogate", "half an emoji cannot be stored", "training/text.py", "[\\x00\\ud800-\\udfff]",
             "[\\x00]", ("tests/training/test_text_that_can_be_stored.py",)),
    Mutation("turn-inside-a-line", "a speaker's name inside a line ends no reply", "training/dialogue.py",
             'r"^(?:Human|Assistant):"', 'r"(?:Human|Assistant):"', ("tests/training/test_where_a_reply_ends.py",)),
    # training/data --------------------------------------------------------------------------------------------------
    Mutation("pair-of-equal-responses", "a pair of equal responses teaches nothing and is left out",
             "training/data/rows.py", "if row.chosen == row.rejected:", "if False:", (DATA_FORMATS,)),
    Mutation("history-after-the-system", "earlier turns come after the system message", "training/data/rows.py",
             'after_system = int(messages[0]["role"] == "system")', "after_system = 0", (PARTS_OF_A_PROMPT,)),
    Mutation("chosen-alone", "a chosen response alone is a response", "training/data/rows.py",
             'if one_of_two and "response" not in meaning:', "if False:", (DATA_FORMATS,)),
    Mutation("two-system-messages", "responses to different system messages are no pair", "training/data/rows.py",
             "if first_prompt != second_prompt and prompt not in (first_prompt, second_prompt):", "if False:",
             (PARTS_OF_A_PROMPT, DATA_FORMATS)),
    Mutation("part-that-is-unmapped", "a part that a person maps to no column has none", "training/data/rows.py",
             'if mapping.get(role) != "" and (role', "if (role", (PARTS_OF_A_PROMPT,)),
    Mutation("bare-assistant", "a prompt may end with a bare Assistant:", "training/data/messages.py",
             'while messages and messages[-1]["role"] == "assistant" and not messages[-1]["content"]:',
             "while False:", (DATA_FORMATS, PARTS_OF_A_PROMPT)),
    Mutation("tool-calls", "a message that calls a tool is left out", "training/data/messages.py",
             'if item.get("tool_calls") or item.get("function_call"):', "if False:",
             (DATA_FORMATS, PARTS_OF_A_PROMPT, "tests/training/test_layouts_of_json.py", HOSTILE_FILES)),
    Mutation("text-that-is-json", "a text that happens to be JSON stays a text", "training/data/messages.py",
             "return value if _is_messages(value) else text", "return value",
             (DATA_FORMATS, PARTS_OF_A_PROMPT, HOSTILE_FILES)),
    Mutation("dialogues-share-a-prompt", "dialogues that differ before the last reply are no pair",
             "training/data/messages.py", "if better[:-1] != worse[:-1]:", "if False:", (DATA_FORMATS,)),
    Mutation("prompt-of-a-person", "a prompt ends with the words of the person", "training/data/messages.py",
             'if not messages or messages[-1]["role"] != "user":', "if not messages:",
             (DATA_FORMATS, PARTS_OF_A_PROMPT)),
    Mutation("reply-follows-the-prompt", "a response's dialogue begins with the prompt", "training/data/messages.py",
             "if before and before != turns:", "if False:", (DATA_FORMATS, PARTS_OF_A_PROMPT)),
    Mutation("order-tells-nothing", "whether a response comes first says nothing of which was chosen",
             "training/data/data_files.py", "first, second = sorted((row.chosen, row.rejected))",
             "first, second = row.chosen, row.rejected", (DATA_FILES_OF_A_RUN,)),
    Mutation("held-out-answers", "answers to held-out prompts train nothing", "training/data/data_files.py",
             "training = [row for row in used if digest_of(row.prompt) not in held_out]", "training = used",
             (DATA_FILES_OF_A_RUN,)),
    Mutation("limit-of-rows", "no more rows than the limit are used", "training/data/data_files.py",
             "itertools.islice(rows, settings.limit)", "rows", (DATA_FILES_OF_A_RUN,)),
    Mutation("few-held-out", "of few prompts a fifth is held out at most", "training/data/data_files.py",
             "min(most, max(1, len(digests) // 5))", "most", (DATA_FILES_OF_A_RUN,)),
    Mutation("persons-choice", "the person's choice is the chosen response", "training/data/data_files.py",
             '1.0 if a == row.chosen else 0.0', '0.0 if a == row.chosen else 1.0',
             (DATA_FILES_OF_A_RUN,)),
    # training/data/records ------------------------------------------------------------------------------------------
    Mutation("separator-in-quotes", "a sign in quotation marks separates no cells",
             "training/data/records/csv_rows.py", '_QUOTED.sub("", line)', "line",
             ("tests/training/test_csv_of_spreadsheets.py",)),
)
