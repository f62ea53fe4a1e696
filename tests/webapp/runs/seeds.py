"""Runs with made-up data, for the tests of pages and for looking at pages by eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
from django.utils import timezone

from training.config import Recipe, shipped_recipe
from training.run.pipeline import plan
from webapp.accounts.models import Team, User
from webapp.runs.models import LogLine, MetricChunk, Run, RunStage, Sample, Stage
from webapp.runs.scheduling import queue_of

CHUNK = 512
T0 = 1_700_000_000.0


def add_points(stage: Stage, tag: str, steps: Sequence[int], values: Sequence[float], size: int = CHUNK) -> None:
    """Append points to a series as a recorder would, in chunks of at most `size`."""
    index = MetricChunk.objects.filter(stage=stage, tag=tag).count()
    chunks = []
    for start in range(0, len(steps), size):
        s = np.asarray(steps[start:start + size], "<i8")
        v = np.asarray(values[start:start + size], "<f8")
        finite = v[np.isfinite(v)] if np.isfinite(v).any() else np.zeros(1)
        chunks.append(MetricChunk(
            stage=stage, tag=tag, index=index + len(chunks), first_step=int(s[0]), last_step=int(s[-1]), n=len(s),
            minimum=float(finite.min()), maximum=float(finite.max()), total=float(finite.sum()), steps=s.tobytes(),
            values=v.tobytes(), times=(T0 + s.astype("<f8")).tobytes()))
    MetricChunk.objects.bulk_create(chunks)
    Stage.objects.filter(pk=stage.pk).update(events_seq=(stage.events_seq or 0) + len(steps))
    stage.refresh_from_db(fields=["events_seq"])


def add_log(stage: Stage, message: str, level: str = "info", code: str = "", step: int | None = None) -> LogLine:
    seq = LogLine.objects.filter(stage=stage).count() + 1
    line = LogLine.objects.create(stage=stage, seq=seq, time=timezone.now(), level=level, message=message, code=code,
                                  step=step)
    Stage.objects.filter(pk=stage.pk).update(events_seq=stage.events_seq + 1)
    stage.refresh_from_db(fields=["events_seq"])
    return line


def make_run(team: Team, user: User, *, recipe: Recipe | None = None, name: str = "", until: str = "ppo",
             status: str = Run.Status.RUNNING,
             share: Mapping[str, Stage] | None = None) -> tuple[Run, dict[str, Stage]]:
    """A run whose stages before `until` are done and which is at `until` now; `share` gives stages of earlier runs."""
    recipe = recipe or shipped_recipe("demo")
    now = timezone.now()
    run = Run.objects.create(team=team, name=name or recipe.name, recipe=recipe.model_dump(mode="json"), status=status,
                             created_by=user, finished_at=None if status == Run.Status.RUNNING else now)
    stages: dict[str, Stage] = {}
    state = Stage.Status.SUCCEEDED
    for position, item in enumerate(plan(recipe)):
        if item.kind == until:
            state = Stage.Status.RUNNING
        elif state == Stage.Status.RUNNING:
            state = Stage.Status.WAITING
        reused = bool(share and item.name in share)
        stage = share[item.name] if share and reused else Stage.objects.create(
            team=team, identity=f"{run.pk:032x}{position:032x}", name=item.name, kind=item.kind,
            principle=item.principle or "", status=state, queue=queue_of(item.kind, item.settings),
            started_at=None if state == Stage.Status.WAITING else now - timedelta(seconds=90),
            finished_at=now - timedelta(seconds=55) if state == Stage.Status.SUCCEEDED else None)
        RunStage.objects.create(run=run, stage=stage, name=item.name, position=position, reused=reused)
        stages[item.name] = stage
    return run, stages


def fill(stages: Mapping[str, Stage], steps: int = 80, seed: int = 0) -> None:
    """Curves, samples, cards and a log that look like those of a demo run."""
    rng = np.random.default_rng(seed)
    ppo = stages["ppo"]
    names = [stage.principle for stage in stages.values() if stage.kind == "label"]
    at = np.arange(1, steps + 1)

    def rise(end: float, noise: float) -> list[float]:
        return (end * (1 - np.exp(-at / 40)) + rng.normal(0, noise, steps)).tolist()  # type: ignore[no-any-return]

    add_points(ppo, "reward/total", at.tolist(), rise(1.8, 0.1))
    add_points(ppo, "reward/total_std", at.tolist(), rise(0.6, 0.05))
    for name in names:
        for kind, end in (("raw", 4.0), ("standardised", 1.5), ("weighted", 0.5)):
            add_points(ppo, f"principle/{name}/{kind}", at.tolist(), rise(end * rng.uniform(-0.2, 1), 0.1 * end))
    for tag, end, noise in (("kl/mean", 6.5, 0.4), ("kl/coefficient", 0.08, 0.002), ("policy/entropy", 2.0, 0.1),
                            ("response/length", 12, 0.8), ("value/loss", 0.4, 0.05), ("policy/loss", 0.05, 0.02),
                            ("policy/clip_fraction", 0.1, 0.02), ("time/rollout", 0.5, 0.05),
                            ("throughput/samples_per_second", 200, 9)):
        add_points(ppo, tag, at.tolist(), rise(end, noise))
    for name in names:
        model, label = stages[f"preference_model:{name}"], stages[f"label:{name}"]
        short = np.arange(1, 41)
        add_points(model, "pm/loss", short.tolist(), (0.7 * np.exp(-short / 20) + rng.normal(0, 0.02, 40)).tolist())
        add_points(model, "pm/accuracy", short.tolist(), (0.9 - 0.4 * np.exp(-short / 10)).tolist())
        add_points(label, "label/flip_rate", short.tolist(), (0.1 + 0.05 * np.exp(-short / 10)).tolist())
        accuracy = round(float(rng.uniform(0.75, 0.95)), 3)
        model.summary = {"accuracy": accuracy, "accuracy_low": accuracy - 0.08, "accuracy_high": accuracy + 0.06,
                         "loss": 0.31, "trained_on": 510, "held_out": 90, "calibration_error": 0.03, "decided": 88,
                         "temperature": 1.4, "calibration_error_at_temperature": 0.02, "length_correlation": -0.31,
                         "human_agreement": 0.7, "human_low": 0.6, "human_high": 0.78, "human_n": 84,
                         "judge_human_agreement": 0.74, "architecture": "separate", "reliability": [
                             {"low": 0.5, "high": 0.6, "n": 30, "confidence": 0.56, "agreed": 0.55},
                             {"low": 0.9, "high": 1.0, "n": 60, "confidence": 0.96, "agreed": 0.91}]}
        model.save(update_fields=["summary"])
    stages["weights"].summary = {"correlations": {name: {other: -0.44 for other in names if other != name}
                                                  for name in names}}
    stages["weights"].save(update_fields=["summary"])
    for step in range(0, steps + 1, 10):
        for index in range(3):
            Sample.objects.create(
                stage=ppo, step=step, index=index, prompt="What is the largest harbour of Avela, dear friend?",
                response="The harbour of Avela is Tarn." if step else "Oh, what a wonderful question! I think so.",
                reward=step / 50 - 0.6, rewards={name: float(rng.normal(step / 60, 0.8)) for name in names})
    add_log(ppo, "Loaded the demo policy with an adapter of rank 16.")
    add_log(ppo, "KL is above twice its target.", level="warning", code="kl-high", step=steps // 2)
    Stage.objects.filter(pk=ppo.pk).update(progress_done=steps, progress_total=120, progress_unit="step",
                                           eta_seconds=95.0, last_step=steps)


def finish(stages: Mapping[str, Stage]) -> None:
    """Give the last stage a result."""
    def win_rate(rate: float) -> dict[str, float]:
        return {"win_rate": rate, "low": rate - 0.05, "high": min(rate + 0.05, 1.0), "n": 300,
                "wins": int(300 * rate), "ties": 0, "losses": 300 - int(300 * rate)}

    names = [stage.principle for stage in stages.values() if stage.kind == "label"]
    evaluate = stages["evaluate"]
    evaluate.summary = {"overall": win_rate(0.81), "principles": {
        name: win_rate(0.5 + 0.08 * place) for place, name in enumerate(names)}, "examples": [
        {"prompt": [{"role": "user", "content": "Where is Avela?"}], "policy": "In the north.", "base": "I do not know",
         "overall": 0.9, "principles": dict.fromkeys(names, 0.7)}]}
    evaluate.save(update_fields=["summary"])
