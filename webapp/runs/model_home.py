"""The server's folder of models, in which the web and the workers look up a model's name."""

from __future__ import annotations

from django.conf import settings

from training.run.model_names import ModelHome


def models_home() -> ModelHome:
    """Names are folders inside `var/models` or models on the hub; no other path of the server is allowed."""
    return ModelHome(settings.VAR / "models", paths=False)
