"""Concord's engine: preference models, scalarization and PPO as a library and a command line.

Knows nothing of Django, Celery, databases or the environment. What the web may use of it, without torch, is in the
folders `config`, `run`, `data`, `quality`, `judges` and `demo_world`, and in `dialogue`, `errors` and `text`.
"""
