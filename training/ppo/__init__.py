"""PPO: mathematics, learner, processes, micro-batches, health checks; also GRPO, RLOO and best of n. Needs torch."""
