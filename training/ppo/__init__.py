"""Towards the reward: PPO's mathematics, its learner, its processes, its health, and its neighbours. Needs torch."""
