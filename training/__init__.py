"""Concord's engine: preference models, scalarization and PPO as a library and a command line.

Knows nothing of Django, Celery, databases or the environment. What the web needs of it without torch is in
`config`, `principles`, `pipeline`, `reporting`, `artifacts`, `dialogue`, `errors` and `demo_world.rules`.
"""
