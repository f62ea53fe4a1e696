"""Mutations of workers: who runs a stage and what is recorded of it."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CHATS = "tests/training/test_chats_in_one_batch.py"
REAPING = "tests/workers/test_reaping.py"
RECORDING_LABELS = "tests/workers/test_recording_labels.py"
RECORDING_ODD_EVENTS = "tests/workers/test_recording_odd_events.py"
ORDER_OF_STAGES = "tests/workers/test_order_of_stages.py"
SUPERVISING_A_STAGE = "tests/workers/test_supervising_a_stage.py"

WORKERS: tuple[Mutation, ...] = (
    # workers --------------------------------------------------------------------------------------------------------
    Mutation("label-stays-as-bought", "a good label that comes again stays as it was bought", "workers/labels.py",
             'elif before.is_open and event["probability"]', 'elif event["probability"]', (RECORDING_LABELS,)),
    Mutation("label-by-old-answer", "a label by reference answers is replaced when they have changed",
             "workers/labels.py", "probability is None or self._is_by_references", "probability is None",
             ("tests/workers/test_runs_on_reference_answers.py",)),
    Mutation("label-of-own-pair", "two teams with the same pair label each their own", "workers/labels.py",
             "owner=team_id, digest__in", "digest__in", (RECORDING_LABELS,)),
    Mutation("label-of-other-question", "an error is mended by an answer to the same question", "workers/labels.py",
             'self._judge_of(event), event["prompt_version"]))', 'self._judge_of(event), ""))', (RECORDING_LABELS,)),
    Mutation("label-before-servers", "a label from before servers were noted is its stage's judge's",
             "workers/labels.py", 'if is_unplaced(name) and "judge" in self._stage.settings:', "if False:",
             (RECORDING_LABELS,)),
    Mutation("batch-recorded-twice", "two recorders with one token record a batch once", "workers/recording.py",
             "status=Stage.Status.RUNNING,\n                                    "
             "events_offset=self._stage.events_offset)", "status=Stage.Status.RUNNING)", (RECORDING_ODD_EVENTS,)),
    Mutation("infinity-in-a-sample", "a reward that is no number is stored as 0", "workers/recording.py",
             'return value if abs(value) < float("inf") else 0.0', "return value", (RECORDING_ODD_EVENTS,)),
    Mutation("stopped-stage-claimed", "a message for a stage that was cancelled in the queue starts nothing",
             "workers/leases.py", "status=Stage.Status.QUEUED).update(",
             "status__in=[Stage.Status.QUEUED, Stage.Status.STOPPED]).update(", (SUPERVISING_A_STAGE,)),
    Mutation("cancelled-without-worker", "a stage that was cancelled while its worker was gone is not queued again",
             "workers/reaping.py", "if stage.stop_requested:", "if False:", (REAPING,)),
    Mutation("clock-set-back", "a lease written by a clock that was set back does not hold for hours",
             "workers/reaping.py", " or now - since > patience:", ":", (REAPING,)),
    Mutation("third-silence", "a stage whose workers go silent again and again fails", "workers/reaping.py",
             "elif crashes < MOST_CRASHES:", "elif True:", (REAPING,)),
    Mutation("message-sent-again", "a lost message is sent again where the queue is empty", "workers/reaping.py",
             "if unclaimed and _is_empty(queue):", "if False:", (REAPING,)),
    Mutation("claimed-by-another", "a worker that was too late for a stage takes the next one", "workers/leases.py",
             "        if (stage := claim(first)) is not None:\n            return stage\n",
             "        return claim(first)\n", (ORDER_OF_STAGES,)),
    Mutation("locked-stage-first", "a stage whose folder is in use lets others go first", "workers/supervisor.py",
             "locked_until=timezone.now() + LOCKED_FOR", "locked_until=None", (ORDER_OF_STAGES,)),
    Mutation("unwanted-in-the-queue", "a queued stage that no run wants leaves the queue", "workers/reaping.py",
             "    _try(_let_go)\n", "", (ORDER_OF_STAGES,)),
    Mutation("error-of-one-stage", "one stage that cannot be taken back keeps nothing else waiting",
             "workers/reaping.py", '    except Exception:\n        logger.exception("reaping: %s %s"',
             '    except ZeroDivisionError:\n        logger.exception("reaping: %s %s"', (REAPING,)),
    Mutation("lease-as-it-was-seen", "a lease that was renewed meanwhile is not taken back", "workers/reaping.py",
             "status=S.RUNNING, lease_token=stage.lease_token,\n                                   "
             "lease_until=stage.lease_until)", "status=S.RUNNING, lease_token=stage.lease_token)", (REAPING,)),
    Mutation("third-crash", "a stage that is killed again and again fails", "workers/supervisor.py",
             "if crashes < MOST_CRASHES:", "if True:", (SUPERVISING_A_STAGE,)),
    Mutation("pace-of-label-stages", "what people say of the pace is written for the stage", "workers/pacing.py",
             "if row is not None and not _says(self._stage, row):", "if False:",
             ("tests/webapp/runs/test_steering_a_run.py",)),
    Mutation("others-make-room", "when memory runs out the other models make room", "workers/loaded_models.py",
             "                model = load()\n            with", "                raise\n            with",
             ("tests/workers/test_inference_speaks.py",)),
    # chats ----------------------------------------------------------------------------------------------------------
    Mutation("row-of-who-left", "the last row takes the place of one that leaves", "training/models/shared_cache.py",
             "buffer[place] = buffer[last]", "pass", (CHATS,)),
    Mutation("adapter-of-others", "a row has no part of another row's adapter", "training/models/mixed_lora.py",
             "of_row.get(adapter, 0.0)", "1.0", (CHATS,)),
    Mutation("chunk-reads-on", "a long prompt is read chunk after chunk", "training/models/chat_batch.py",
             "positions[:, start:end].to(device)", "positions[:, :end - start].to(device)", (CHATS,)),
    Mutation("stopped-row-stays", "who stops leaves the batch", "training/models/chat_batch.py",
             "for reply in self._running if reply.is_stopped]", "for reply in self._running if False]", (CHATS,)),
    Mutation("seed-of-the-default-type", "a model that is loaded in bf16 changes no random number",
             "training/models/chat_batch.py", ", dtype=torch.float32)", ")", (CHATS,)),
    Mutation("one-chat-at-once", "as many chats are answered at once as the setting says", "workers/chat_queue.py",
             "[self._answer_all] * self._at_once", "[self._answer_all]", ("tests/workers/test_chats_at_once.py",)),
    Mutation("listener-gone", "a stopped chat's rows are given up", "workers/inference.py",
             "            reply.stop()", "            pass", ("tests/workers/test_chats_at_once.py",)),
)
