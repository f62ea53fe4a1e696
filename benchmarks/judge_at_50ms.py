"""A judge's server for `labelling.py`: it answers every question after 50 ms, with five tokens' log-probabilities.

    python benchmarks/judge_at_50ms.py     prints its port, and answers until it is killed

Raw asyncio on uvloop, so that it takes little of the cores that the clients are measured on.
"""

from __future__ import annotations

import asyncio
import json
import math

import uvloop

DELAY = 0.05
_TOP = [("A", 0.7), (" A", 0.1), ("B", 0.15), ("The", 0.03), ("Option", 0.01)]
_ENTRIES = [{"token": token, "logprob": math.log(share), "bytes": list(token.encode())} for token, share in _TOP]
_BODY = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "judge-at-50ms", "choices": [
        {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "A", "refusal": None},
         "logprobs": {"content": [_ENTRIES[0] | {"top_logprobs": _ENTRIES}], "refusal": None}}],
    "usage": {"prompt_tokens": 400, "completion_tokens": 1, "total_tokens": 401}}).encode()
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class _Connection(asyncio.Protocol):
    """One request after the other on a kept connection: a body of Content-Length, a reply after the delay."""

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._data += data
        head = self._data.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = self._data[:head].lower()
        at = lower.index(b"content-length:") + 15
        end = lower.find(b"\r\n", at)
        length = int(lower[at: end if end > 0 else head])
        if len(self._data) - head - 4 >= length:
            self._data = b""
            asyncio.get_running_loop().call_later(DELAY, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_REPLY)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
