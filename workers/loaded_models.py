"""The models that the inference worker holds: bases with their batches of chats, and preference models that score."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from training.errors import OutOfMemory

Model = TypeVar("Model")

MOST_LOADED = 4


class Loaded:
    """The models used last, at most `most` of them; one that is in use (`is_idle` is False) stays for as long.

    One is loaded at a time. Who asks for one that is there waits for nobody.
    """

    def __init__(self, most: int = MOST_LOADED) -> None:
        self._most = most
        self._models: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def get(self, key: Hashable, load: Callable[[], Model]) -> Model:
        """The model under this key, loaded if need be; if memory runs out, once more with all that are idle gone."""
        if (model := self._used(key)) is not None:
            return model
        with self._loading:
            if (model := self._used(key)) is not None:  # another thread has loaded it meanwhile
                return model
            while len(self._models) >= self._most and self._drop_oldest():
                pass
            try:
                model = load()
            except OutOfMemory:
                if not self._drop_oldest():
                    raise
                while self._drop_oldest():
                    pass
                model = load()
            with self._lock:
                self._models[key] = model
            return model

    def __contains__(self, key: Hashable) -> bool:
        return key in self._models

    def _used(self, key: Hashable) -> Any:
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
            return self._models.get(key)

    def _drop_oldest(self) -> bool:
        """Drop the model that was used least lately of those that are idle; whether there was one."""
        with self._lock:
            for key, model in self._models.items():
                if getattr(model, "is_idle", True):
                    del self._models[key]
                    return True
        return False
