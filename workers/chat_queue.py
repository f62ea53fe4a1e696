"""The queue of chats in the inference worker: in its memory, without blocking its threads.

A few threads answer, each one chat after another, so that as many chats are answered at once. One more checks the
waiting chats, so that a chat that is stopped while it waits ends at once. The worker's own threads stay free for other
tasks.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from webapp.playground.stream import Request

MOST_WAITING = 200
LOOK = 0.5  # seconds between two checks of the waiting chats


class ChatQueue:
    """A first-in, first-out queue of chats.

    Args:
        answer: answers one chat; never raises.
        refuse: ends a chat with a cause and a remedy.
        is_stopped: whether the user has stopped this chat.
        stopped: ends a chat that the user has stopped.
        at_once: how many are answered at the same time.
        moved: says to a waiting chat how many have to end before it begins, whenever that changes.
    """

    def __init__(self, answer: Callable[[Request], None], refuse: Callable[[Request, str, str], None],
                 is_stopped: Callable[[Request], bool], stopped: Callable[[Request], None], at_once: int = 1,
                 moved: Callable[[Request, int], None] = lambda request, ahead: None) -> None:
        self._answer, self._refuse, self._is_stopped, self._stopped = answer, refuse, is_stopped, stopped
        self._moved = moved
        self._told: dict[str, int] = {}  # by chat: the place that it knows
        self._waiting: deque[Request] = deque()
        self._answered: list[Request] = []
        self._at_once = at_once
        self._change = threading.Condition()
        self._closed = False
        self._threads: list[threading.Thread] = []

    @property
    def ahead(self) -> int:
        """How many chats have to end before a new one begins."""
        with self._change:
            return self._ahead_of_new()

    def _ahead_of_new(self) -> int:
        return max(0, len(self._answered) + len(self._waiting) + 1 - self._at_once)

    def put(self, request: Request) -> None:
        """Queue a chat, or refuse it if too many are waiting."""
        with self._change:
            self._start()
            if not self._closed and len(self._waiting) < MOST_WAITING:
                self._told[request.id] = self._ahead_of_new()
                self._waiting.append(request)
                self._change.notify_all()
                return
        self._refuse(request, f"The inference worker has {MOST_WAITING} chats waiting, or is being stopped.",
                     "Try again in a few minutes.")

    def close(self) -> None:
        """End all waiting chats and those that are being answered, because the worker is shutting down."""
        with self._change:
            self._closed = True
            chats = [*self._answered, *self._waiting]
            self._waiting.clear()
            self._change.notify_all()
        for request in chats:
            self._refuse(request, "The inference worker is being stopped.", "Send the prompt again in a minute.")

    def _start(self) -> None:
        if not self._threads:
            self._threads = [threading.Thread(target=work, name=f"chat-{work.__name__.strip('_')}", daemon=True)
                             for work in (*[self._answer_all] * self._at_once, self._look_through)]
            for thread in self._threads:
                thread.start()

    def _answer_all(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                request = self._waiting.popleft()
                self._answered.append(request)
                self._told.pop(request.id, None)
            try:
                self._answer(request)
            finally:
                with self._change:
                    self._answered.remove(request)

    def _look_through(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                waiting = list(self._waiting)
                busy = len(self._answered) - self._at_once  # below 0: so many begin in a moment
            for ahead, request in enumerate(waiting, busy + 1):
                self._say_place(request, ahead)
                if self._is_stopped(request) and self._take_out(request):
                    self._stopped(request)
            threading.Event().wait(LOOK)

    def _say_place(self, request: Request, ahead: int) -> None:
        with self._change:
            if ahead < 1 or request not in self._waiting or self._told.get(request.id) == ahead:
                return
            self._told[request.id] = ahead
        self._moved(request, ahead)

    def _take_out(self, request: Request) -> bool:
        with self._change:
            if request not in self._waiting:
                return False  # its turn has come
            self._waiting.remove(request)
            self._told.pop(request.id, None)
            return True
