"""A judge's server that fails three times in ten, in every way a server can; run by the tests in a process of its own.

    python -m tests.faulty_judge LOG [SHARE]     prints its port; a line of LOG for each answer that was paid for

What it answers depends on the question alone. What goes wrong depends on how often the question was asked, so that a
question that is asked again is answered in the end. An answer counts as paid once its last byte was handed over.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import sys
from collections import Counter
from pathlib import Path

DELAY = 0.03
FAULTS = ("429", "500", "503", "timeout", "reset", "slow", "garbage")


def probability(question: str) -> float:
    """That Option A is the better one: between 0.1 and 0.9, by the question's hash."""
    return 0.1 + 0.8 * int(hashlib.sha256(question.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def fault(question: str, time: int, share: float) -> str:
    """What goes wrong the n-th time that a question is asked; "" for nothing."""
    drawn = int(hashlib.sha256(f"{time} {question}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return FAULTS[int(drawn / share * len(FAULTS))] if drawn < share else ""


def reply(question: str) -> bytes:
    p = probability(question)
    top = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in (("A", p), ("B", 1 - p))]
    token = max(top, key=lambda entry: entry["logprob"])  # type: ignore[arg-type, return-value]
    return json.dumps({
        "id": "x", "object": "chat.completion", "created": 0, "model": "faulty", "choices": [
            {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": token["token"]},
             "logprobs": {"content": [token | {"top_logprobs": top}]}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}}).encode()


class Server:
    def __init__(self, log: Path, share: float) -> None:
        self._log, self._share = log.open("a", buffering=1), share
        self._asked: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                question = json.loads(await reader.readexactly(length))["messages"][0]["content"]
                self._asked[question] += 1
                await asyncio.sleep(DELAY)
                if not await self._answer(writer, question, fault(question, self._asked[question], self._share)):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, question: str, wrong: str) -> bool:
        """Whether the connection goes on."""
        if wrong == "reset":
            writer.transport.abort()
            return False
        if wrong == "timeout":
            await asyncio.sleep(5)
            return False
        if wrong in ("429", "500", "503"):
            extra = b"Retry-After: 0.02\r\n" if wrong != "500" else b""
            self._send(writer, int(wrong), b'{"error": {"message": "not now"}}', extra)
            return True
        body = reply(question)
        if wrong == "garbage":
            self._send(writer, 200, body[: len(body) // 2])
            return True
        # Logged before it is sent: what was sent and not logged would look unpaid.
        self._log.write(hashlib.sha256(question.encode()).hexdigest() + "\n")
        if wrong == "slow":
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            for start in range(0, len(body), 200):
                writer.write(body[start: start + 200])
                await writer.drain()
                await asyncio.sleep(0.01)
        else:
            self._send(writer, 200, body)
        await writer.drain()
        return True

    @staticmethod
    def _send(writer: asyncio.StreamWriter, status: int, body: bytes, extra: bytes = b"") -> None:
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
                     % (status, len(body), extra) + body)


async def main(log: Path, share: float) -> None:
    server = await asyncio.start_server(Server(log, share).serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.3))
