"""PPO towards many principles at once: the policy answers, preference models score each answer on every principle, a
scalarization makes one reward of the scores, and the policy moves a little towards what was rewarded.

The method is MORLAIF (arXiv 2406.07295), the algorithm PPO (arXiv 1707.06347) in the shape it took for language models
(arXiv 1909.08593, 2203.02155): a KL penalty on each token against the policy as it was, the reward on the last token,
a critic on the policy's trunk or a separate one. Each phase:

    1. answer    every prompt of the batch is answered once, token by token
    2. score     preference models and measures -> principle rewards [batch, principle] -> reward [batch]
    3. read      log-probabilities and values of the answers; log-probabilities of the reference
    4. credit    rewards of tokens -> advantages and returns (GAE), weighted where sampling and reading differ
    5. learn     epochs x minibatches optimizer steps on the clipped losses
    6. adapt     the KL coefficient, towards the target KL
    7. report    metrics, samples of fixed prompts, a checkpoint now and then

What differs from the paper's code: scores are standardised before they are scalarized, rewards are not divided by a
running standard deviation (advantages are whitened), and what each principle contributes is reported. Left out:
dropout, a replay buffer.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from training.config import Ppo
from training.dialogue import Dialogue
from training.errors import BadData, Diverged
from training.models import language_model, rollouts
from training.models.fused_lora import fused_lora
from training.models.rollouts import ForwardOutputs, Rollout
from training.ppo import gradient_conflict, health, parallel
from training.ppo import policy_gradient as pg
from training.ppo.conditioning import Conditioning
from training.ppo.gradient_pass import CapturedOnGpu, GradientPass, LossInputs
from training.ppo.learner import (
    Learner,
    keep_policy,
    load_learner,
    save_checkpoint,
    save_policy,
    trainable_parameters,
)
from training.ppo.micro_batch import MicroBatch
from training.ppo.rollout_log import rollout_log
from training.ppo.samples import report_samples
from training.reward.loading import load_gauges, load_rewards, phase_metrics
from training.reward.rewards import Rewards
from training.run.artifacts import Job, newest_checkpoint, read_jsonl, write_json
from training.run.reporting import Reporter


class Experience(NamedTuple):
    """The answers of one phase and what is learnt from them; tensors are [batch, response]."""

    rollout: Rollout
    old: ForwardOutputs
    advantages: Tensor
    returns: Tensor


class LossSums(NamedTuple):
    """Sums over the tokens of some passes: losses of policy and value, tokens whose ratio was clipped, KL (k3) from the
    policy that answered, entropy, and the tokens themselves. A pass has them as a tensor in this order."""

    policy: float
    value: float
    clipped: float
    kl: float
    entropy: float
    tokens: float


def save_result(learner: Learner, folder: Path, reporter: Reporter) -> None:
    """Write and report the trained policy, and its value head."""
    made = save_policy(learner, folder)
    learner.value_head.save(folder / "value_head.safetensors")
    reporter.artifact(made, made)


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Train the policy; write adapter/ or, of all weights, model/, value_head.safetensors, summary.json, and kept/.

    Raises:
        BadData: there are no prompts.
        Diverged: a loss or a gradient is NaN or infinite.
        ModelUnavailable, OutOfMemory: a base or a preference model cannot be loaded, or does not fit.
    """
    settings = Ppo.model_validate(job.settings["ppo"])
    seed = job.settings["seed"]
    prompts: list[Dialogue] = [row["prompt"] for row in read_jsonl(job.files["prompts"])]
    if not prompts:
        raise BadData("There are no prompts to train on.", "Import a dataset with prompts.")
    reporter = health.with_health_watch(reporter, job, folder, prompts[: settings.sample_prompts])
    if settings.algorithm != "ppo":
        from training.ppo import group_policy  # TRL takes a second to import

        return group_policy.train(job, folder, reporter, prompts)
    reporter = parallel.rank_zero_reporter(reporter, settings.batch_size // settings.minibatches)
    checkpoints = folder / "checkpoint"
    resumed_from = newest_checkpoint(checkpoints)
    learner = load_learner(job, settings, resumed_from)
    language = learner.language
    rewards_of, gauges = load_rewards(job, language.device, reporter), load_gauges(job, reporter)
    rewards_of.constraints.load_state_dict(learner.multipliers)
    conditioning = Conditioning(learner.conditioned, learner.value_head, rewards_of, settings.concentration, seed)
    sampling = rollouts.Sampling(settings.max_new_tokens, settings.temperature)
    followed = prompts[: settings.sample_prompts]
    micro_batch = MicroBatch(settings.micro_batch, reporter)
    gradient_pass = GradientPass(partial(backward, learner, settings), trainable_parameters(learner),
                                 CapturedOnGpu if can_capture(learner, settings) else None, reporter)
    log = rollout_log(job, folder, settings, rewards_of.names)

    def save() -> None:
        log.flush()
        if parallel.is_main():
            save_checkpoint(learner, checkpoints)

    reporter.rewind(learner.step)  # what a killed attempt reported after its last checkpoint is done again
    log.rewind(learner.step)
    if resumed_from is not None:
        reporter.log(f"resumed after step {learner.step}")
    else:
        report_samples(language, learner.step, followed, sampling, rewards_of, seed, reporter)
        save()
    while learner.step < settings.steps:
        began = time.monotonic()
        # 1. Answer.
        conditioning.begin_phase(learner.step)
        batch = [prompts[i] for i in batch_indices(learner.step, settings.batch_size, len(prompts), seed)]
        ids, mask = rollouts.pad_prompts(language, batch, settings.max_new_tokens)
        with language_model.merged(language):
            local_rows = parallel.shard(torch.arange(len(batch), device=ids.device))
            generator = parallel.own_generator(learner.generator)
            local_rollout = rollouts.generate(language, ids[local_rows], mask[local_rows], sampling, generator)
        rollout = parallel.gather_rollout(local_rollout, ids, mask)
        responses = rollouts.texts(language, rollout)
        answered = time.monotonic()

        # 2. Score: principle rewards, and one reward of them; an answer without an end token is penalised.
        micro_batch.fit(language, rollout)
        rewards = micro_batch.attempt(partial(parallel.gather_rewards, rewards_of, batch, responses,
                                              device=language.device))
        reward = reward_of(rewards, rollout, settings)
        scored = time.monotonic()

        # 3. Read the answers: log-probabilities under the policy that gave them and under the reference.
        with torch.no_grad(), fused_lora(language):
            old = compute_logprobs(learner, rollout, settings, micro_batch)
            with language_model.reference(language):
                reference = compute_logprobs(learner, rollout, settings, micro_batch).logprobs

        # 4. Credit: each token pays for its distance from the reference, the last one earns the reward.
        log_ratio = pg.kl_k1(old.logprobs, reference) * rollout.mask
        experience = credit(rollout, old, reward, log_ratio, learner.kl_coefficient, settings)
        sampling_kl, experience = correct_sampling(experience)
        conflicts = gradient_conflict.of_phase(settings, learner.step + 1, language, rollout, rewards_of.names, rewards)

        # 5. Learn.
        rate = settings.learning_rate * pg.schedule(settings.learning_rate_schedule, learner.step, settings.steps,
                                                    settings.warmup_steps)
        learnt = learn(learner, experience, settings, rate, micro_batch, gradient_pass)
        ended = time.monotonic()

        # 6. Adapt the KL coefficient of the next phase; this phase's is the one reported.
        kls = log_ratio.sum(dim=1)
        kl = float(kls.mean())
        learner.metrics = {
            **phase_metrics(rewards_of.names, rewards, gauges, batch, responses),
            **{f"constraint/{name}/multiplier": value for name, value in rewards_of.constraints.multipliers.items()},
            "reward/optimised": float(reward.mean()) - learner.kl_coefficient * kl,
            "kl/mean": kl,
            "kl/coefficient": learner.kl_coefficient,
            "policy/sampling_kl": sampling_kl,
            **learnt,
            **conflicts,
            "value/explained_variance": pg.explained_variance(old.values, experience.returns, rollout.mask),
            "response/length": float(rollout.mask.sum(dim=1).mean()),
            "response/eos_rate": float(rollout.ended.float().mean()),
            "optimizer/learning_rate": rate,
            **durations(began, answered, scored, ended, settings.batch_size),
            **conditioning.end_phase(),
        }
        rewards_of.constraints.learn(rewards.standardised)
        learner.multipliers = rewards_of.constraints.state_dict()
        if settings.kl.adaptive:
            learner.kl_coefficient = pg.next_kl_coefficient(
                learner.kl_coefficient, kl, settings.kl.target, settings.batch_size, settings.kl.horizon)

        # 7. Report.
        learner.step += 1
        reporter.metric(learner.step, learner.metrics)
        log.add(learner.step, batch, responses, rewards, reward, kls, rollout.mask.sum(dim=1), rollout.ended)
        reporter.progress(learner.step, settings.steps)
        if learner.step % settings.sample_every == 0 or learner.step == settings.steps:
            report_samples(language, learner.step, followed, sampling, rewards_of, seed, reporter)
        if learner.step in settings.kept_steps and parallel.is_main():
            keep_policy(learner, folder)
        if learner.step % settings.checkpoint_every == 0 or learner.step == settings.steps:
            save()
        reporter.checkpoint_if_stopped(save)

    if parallel.is_main():
        write_json(folder / "summary.json", {
            "steps": settings.steps, "weights": rewards_of.weights_by_name, "last": learner.metrics,
            "scalarization": job.settings["scalarization"], "multipliers": rewards_of.constraints.multipliers})
        save_result(learner, folder, reporter)


def durations(began: float, answered: float, scored: float, ended: float, samples: int) -> dict[str, float]:
    """Metrics of a phase's time, in seconds, from when each of its parts was finished."""
    return {"time/generate": answered - began, "time/score": scored - answered, "time/update": ended - scored,
            "throughput/samples_per_second": samples / (ended - began)}


def reward_of(rewards: Rewards, rollout: Rollout, settings: Ppo) -> Tensor:
    """What the policy is trained towards, [batch] on its device: the reward clipped, less for responses without end."""
    clipped = rewards.total.to(rollout.mask.device).clamp(-settings.reward_clip, settings.reward_clip)
    return clipped - settings.no_eos_penalty * (~rollout.ended).float()


def credit(
    rollout: Rollout, old: ForwardOutputs, reward: Tensor, log_ratio: Tensor, kl_coefficient: float, settings: Ppo
) -> Experience:
    """Step 4: from one reward per response, [batch], to whitened advantages and returns of its tokens."""
    token_rewards = pg.token_rewards(reward, log_ratio, rollout.mask, kl_coefficient)
    if settings.whiten_rewards:
        token_rewards = pg.masked_scale(token_rewards, rollout.mask)
    advantages, returns = pg.advantages_and_returns(
        token_rewards, old.values, rollout.mask, settings.gamma, settings.lam
    )
    return Experience(rollout, old, pg.masked_whiten(advantages, rollout.mask), returns)


def correct_sampling(experience: Experience) -> tuple[float, Experience]:
    """The KL per token from the model that sampled to the model that was read, and the experience with the policy
    loss of each token weighted for it. Weights are positive, so they may multiply the advantages."""
    rollout = experience.rollout
    if rollout.logprobs is None:
        return 0.0, experience
    kl, weights = pg.sampling_weights(rollout.logprobs, experience.old.logprobs, rollout.mask)
    return kl, experience if weights is None else experience._replace(advantages=experience.advantages * weights)


def learn(
    learner: Learner, experience: Experience, settings: Ppo, rate: float, micro_batch: MicroBatch,
    gradient_pass: GradientPass,
) -> dict[str, float]:
    """Step 5: epochs x minibatches optimizer steps on one phase's answers; returns means over all their tokens.

    Raises:
        Diverged: before the weights are touched, so that the newest checkpoint stays good.
    """
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    responses = experience.rollout.mask
    sums: list[Tensor] = []
    norms: list[float] = []
    language = learner.language
    checkpointing = language_model.gradient_checkpointing(language, settings.gradient_checkpointing)
    with fused_lora(language) as refresh_fused_lora, checkpointing:
        for _ in range(settings.epochs):
            first = len(sums)
            order = torch.randperm(len(responses), generator=learner.generator).to(responses.device)
            for minibatch in order.tensor_split(min(settings.minibatches, len(order))):
                sums += micro_batch.attempt(partial(gradients, learner, experience, minibatch, gradient_pass))
                parallel.all_reduce_gradients(trainable_parameters(learner))
                norms.append(take_step(learner, settings.max_grad_norm))
                refresh_fused_lora()
            if settings.target_kl_stop:
                of_epoch = total_of(sums[first:])
                if of_epoch.kl / of_epoch.tokens > settings.target_kl_stop:
                    break
    total = total_of(sums)
    return {
        "policy/loss": total.policy / total.tokens,
        "policy/clip_fraction": total.clipped / total.tokens,
        "policy/approx_kl": total.kl / total.tokens,
        "policy/entropy": total.entropy / total.tokens,
        "value/loss": total.value / total.tokens,
        "optimizer/grad_norm": sum(norms) / len(norms),
        "optimizer/steps": len(norms),
    }


def gradients(
    learner: Learner, experience: Experience, minibatch: Tensor, gradient_pass: GradientPass, micro_batch: int
) -> list[Tensor]:
    """The gradients of a minibatch's mean loss per token, in the parameters; returns the sums of each micro-batch."""
    learner.optimizer.zero_grad(set_to_none=not gradient_pass.captures)
    tokens = experience.rollout.mask[minibatch].sum()
    return [gradient_pass(loss_inputs(experience, rows, tokens))
            for rows in micro_batches(experience.rollout, parallel.shard(minibatch), micro_batch)]


def loss_inputs(experience: Experience, rows: Tensor, tokens: Tensor) -> LossInputs:
    """What the loss of some rows is computed from, without the columns that are padding in all of them."""
    part = rollouts.select(experience.rollout, rows)
    length = part.mask.shape[1]
    per_token = (experience.old.logprobs, experience.old.values, experience.advantages, experience.returns)
    return LossInputs._make([part.prompts, part.prompt_mask, part.responses, part.mask,
                             *(tensor[rows, :length] for tensor in per_token), tokens])


def total_of(sums: list[Tensor]) -> LossSums:
    """The sums of several passes together, over those of every process."""
    return LossSums(*parallel.all_reduce_sum(torch.stack(sums).sum(dim=0)).tolist())


def backward(learner: Learner, settings: Ppo, inputs: LossInputs, is_padded: bool) -> Tensor:
    """Add the gradients of a micro-batch's loss; returns its LossSums as a tensor."""
    now = rollouts.forward_responses(learner.language, inputs.rollout(), settings.temperature, learner.value_head,
                                     is_padded)
    policy, clipped = pg.policy_loss(now.logprobs, inputs.old_logprobs, inputs.advantages, inputs.mask, settings.clip)
    value = pg.value_loss(now.values, inputs.old_values, inputs.returns, inputs.mask, settings.value_clip)
    ((policy + settings.value_coefficient * value) / inputs.tokens).backward()
    sums = {"policy": policy, "value": value, "clipped": clipped, "tokens": inputs.mask.sum(),
            "kl": (pg.kl_k3(inputs.old_logprobs, now.logprobs) * inputs.mask).sum(),
            "entropy": (now.entropy * inputs.mask).sum()}
    return torch.stack([sums[name] for name in LossSums._fields]).detach()


def can_capture(learner: Learner, settings: Ppo) -> bool:
    """Whether the passes of learning may be CUDA graphs, whose tensors stay where they are: an adapter fused into fp32
    weights is a new tensor after each step, weights that are all trained and conditioned policies give their gradients
    away, several processes exchange theirs for new ones, and checkpointing reads random states from the device."""
    language = learner.language
    return (language.device.type == "cuda" and language.model.dtype == torch.bfloat16 and learner.masters is None
            and learner.conditioned is None and parallel.world_size() == 1 and not settings.gradient_checkpointing)


def take_step(learner: Learner, max_grad_norm: float) -> float:
    """One optimizer step with clipped gradients; returns their norm before clipping. A NaN loss shows here as well."""
    norm = float(torch.nn.utils.clip_grad_norm_(trainable_parameters(learner), max_grad_norm))
    if norm != norm or norm == float("inf"):
        raise Diverged(
            f"The loss of step {learner.step + 1} is NaN or infinite.",
            "Start again with a lower learning rate or a higher KL coefficient; lower the reward clip if rewards jump.",
        )
    learner.optimizer.step()
    for written in (learner.masters, learner.conditioned):
        if written is not None:
            written.write_back()
    return norm


def compute_logprobs(
    learner: Learner, rollout: Rollout, settings: Ppo, micro_batch: MicroBatch
) -> ForwardOutputs:
    """Log-probabilities, entropies and values of whole answers, computed by the same code as in the update."""
    batch, length = rollout.mask.shape
    local_rows = parallel.shard(torch.arange(batch, device=rollout.mask.device))

    def local_outputs(size: int) -> list[Tensor]:
        outputs = [torch.zeros(batch, length, device=rollout.mask.device) for _ in ForwardOutputs._fields]
        for rows in micro_batches(rollout, local_rows, size):
            part = rollouts.select(rollout, rows)
            pieces = rollouts.forward_responses(learner.language, part, settings.temperature, learner.value_head)
            for output, piece in zip(outputs, pieces, strict=True):
                output[rows, : piece.shape[1]] = piece * part.mask
        return outputs

    return ForwardOutputs(*map(parallel.all_reduce_sum, micro_batch.attempt(local_outputs)))


def micro_batches(rollout: Rollout, rows: Tensor, size: int) -> tuple[Tensor, ...]:
    """Micro-batches of at most `size` rows, prompts of similar length together, so that little is spent on padding."""
    return rows[rollout.prompt_mask[rows].sum(dim=1).argsort(stable=True)].split(size)


def batch_indices(step: int, size: int, count: int, seed: int) -> list[int]:
    """Which prompts phase `step` (from 0) answers: passes over all of them, each in its own order."""
    orders: dict[int, list[int]] = {}
    chosen = []
    for position in range(step * size, (step + 1) * size):
        epoch, index = divmod(position, count)
        if epoch not in orders:
            shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
            orders[epoch] = shuffled.tolist()
        chosen.append(orders[epoch][index])
    return chosen
