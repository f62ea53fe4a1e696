"""Reading a dataset in a separate process with limits of memory and time. Torch-free.

A kilobyte of a hostile upload may expand to gigabytes, and parsers have bugs. So the web and the worker never parse an
upload themselves: they start this module, which limits its own memory and time and returns rows as lines of JSON. If
the process dies, the reading fails with a reason, and nothing else is affected.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from training.data.reading import FilePreview, preview_file, read_hub, read_rows
from training.data.rows import RAW_CHARACTERS, BadRow, Columns, Format, Row, can_be_named
from training.errors import BadData
from training.text import storable

PREVIEW_MEMORY, PREVIEW_CPU, PREVIEW_PATIENCE = 600_000_000, 1.5, 15.0  # bytes of addresses, seconds of CPU, seconds
ROWS_MEMORY, HUB_MEMORY = 2_000_000_000, 16_000_000_000
STALL = 300.0  # seconds without a row
LONGEST = 12 * 3600.0  # seconds for a whole import
_TICK = 5.0  # seconds between two calls of `on_wait`
_SHOWN = 3_000  # characters of a text that a preview shows
_MESSAGES = 20  # the last ones of a prompt that a preview shows
_AT_ONCE = threading.BoundedSemaphore(2)  # previews per web process


def _nothing() -> None:
    pass


# The side that asks ---------------------------------------------------------------------------------------------------


def preview_in_subprocess(path: Path, filename: str, columns: Columns | None = None) -> FilePreview:
    """`reading.preview_file` in a limited process; any failure is the preview's `problem`."""
    if not _AT_ONCE.acquire(timeout=PREVIEW_PATIENCE):
        return FilePreview(problem=BadData("Other files are being previewed.", "Load this page again in a moment."))
    try:
        request = {"preview": True, "path": str(path.absolute()), "filename": filename, "columns": dict(columns or {}),
                   "memory": PREVIEW_MEMORY, "cpu": PREVIEW_CPU}
        with _process() as process:
            try:
                output, _ = process.communicate(json.dumps(request).encode(), timeout=PREVIEW_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
        lines = output.splitlines()
        answer = json.loads(lines[-1]) if lines and process.returncode == 0 else {}
    finally:
        _AT_ONCE.release()
    if "preview" not in answer:
        return FilePreview(problem=_why_it_ended(process.returncode, answer, "The first rows of the file"))
    return _preview_of(answer["preview"])


def read_rows_in_subprocess(path: Path, filename: str, columns: Columns | None = None,
                    on_wait: Callable[[], None] = _nothing) -> Iterator[Row | BadRow]:
    """`reading.read_rows` in a bounded process.

    Args:
        on_wait: called every few seconds, also while no row arrives; an exception from it ends the reading.

    Raises:
        BadData: the file cannot be read, or not within the bounds.
    """
    yield from _read_in_subprocess({"path": str(path.absolute()), "filename": filename, "columns": dict(columns or {}),
                            "memory": ROWS_MEMORY}, on_wait, "The file")


def read_hub_in_subprocess(name: str, split: str, columns: Columns | None = None,
                   on_wait: Callable[[], None] = _nothing) -> Iterator[Row | BadRow]:
    """`reading.read_hub` in a bounded process; see `read_rows_in_subprocess`."""
    yield from _read_in_subprocess({"hub": name, "split": split, "columns": dict(columns or {}), "memory": HUB_MEMORY},
                           on_wait, f"The dataset '{name}'")


def _read_in_subprocess(request: dict[str, Any], on_wait: Callable[[], None], what: str) -> Iterator[Row | BadRow]:
    with _process() as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(json.dumps(request).encode())
        answer: dict[str, Any] = {}
        for line in _lines(process, on_wait, what):
            answer = json.loads(line)
            if "row" in answer:
                yield Row.of_json(answer["row"])
            elif "bad" in answer:
                yield BadRow(*answer["bad"])
        process.wait()
        if process.returncode or "end" not in answer:
            raise _why_it_ended(process.returncode, answer, what)


@contextlib.contextmanager
def _process() -> Iterator[subprocess.Popen[bytes]]:
    """The process that reads; it never outlives the one that asks."""
    root = str(Path(__file__).parents[2])
    secret = ("CONCORD_", "OPENAI_", "DJANGO_", "AWS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(secret)}
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    process = subprocess.Popen([sys.executable, "-P", "-m", "training.data.reader_process"], env=environment, cwd="/",
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _lines(process: subprocess.Popen[bytes], on_wait: Callable[[], None], what: str) -> Iterator[bytes]:
    """The lines of its output as they arrive; it must not be silent for longer than STALL."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        yield from _lines_of(process.stdout, selector, on_wait, what)


def _lines_of(output: IO[bytes], selector: selectors.BaseSelector, on_wait: Callable[[], None],
              what: str) -> Iterator[bytes]:
    rest, began, ticked = b"", time.monotonic(), time.monotonic()
    silent = 0.0
    while True:
        waited_from = time.monotonic()
        ready = selector.select(_TICK)
        now = time.monotonic()
        if now - ticked >= _TICK:
            ticked = now
            on_wait()
        silent = 0.0 if ready else silent + now - waited_from
        if silent > STALL or now - began > LONGEST:
            limit = f"no row came for {STALL / 60:.0f} minutes" if silent > STALL else "it took longer than 12 hours"
            raise BadData(f"{what} could not be read to its end: {limit}.", "Try again, or split it into parts.")
        if not ready:
            continue
        part = os.read(output.fileno(), 1 << 18)
        if not part:
            return
        *complete, rest = (rest + part).split(b"\n")
        yield from complete


def _why_it_ended(code: int, answer: dict[str, Any], what: str) -> BadData:
    if "problem" in answer:
        return BadData(*answer["problem"])
    if "crash" in answer:
        raise RuntimeError(f"the process that reads datasets failed:\n{answer['crash']}")
    if code in (-signal.SIGPROF, -signal.SIGKILL):
        return BadData(f"{what} could not be read within the time and the memory that reading may take.",
                       "Split it, shorten its longest cells, or save it in another format, then upload it again.")
    return BadData(f"{what} made the reader end (code {code}).", "It may be damaged; save it again in another format.")


def _preview_of(answer: dict[str, Any]) -> FilePreview:
    rows: list[Row | BadRow] = [Row.of_json(item["row"]) if "row" in item else BadRow(*item["bad"])
                                for item in answer["rows"]]
    return FilePreview(answer["columns"], Format(*answer["format"]) if answer["format"] else None, rows,
                       BadData(*answer["problem"]) if answer["problem"] else None, answer["unused"])


# The process itself ---------------------------------------------------------------------------------------------------


def main() -> None:
    request = json.load(sys.stdin)
    memory = request["memory"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "cpu" in request:
        signal.setitimer(signal.ITIMER_PROF, request["cpu"])
    try:
        for answer in _answers(request):
            sys.stdout.write(json.dumps(answer) + "\n")
    except BadData as problem:
        print(json.dumps({"problem": _problem(problem)}))
    except MemoryError:
        print(json.dumps({"problem": [f"Reading it needs more than {memory // 1_000_000:,} MB of memory.",
                                      "Split it, or shorten its longest cells, then upload it again."]}))
    except BrokenPipeError:
        os._exit(1)  # the caller is gone
    except Exception:
        print(json.dumps({"crash": traceback.format_exc()[-5000:]}))


def _answers(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    columns = request["columns"]
    if "preview" in request:
        with open(request["path"], "rb") as file:
            yield {"preview": _shown(preview_file(file, request["filename"], columns))}
        return
    rows = (read_hub(request["hub"], request["split"], columns) if "hub" in request
            else read_rows(Path(request["path"]), request["filename"], columns))
    for row in rows:
        yield {"row": row} if isinstance(row, Row) else {"bad": _bad(row)}
    yield {"end": True}


def _shown(preview: FilePreview) -> dict[str, Any]:
    """A preview reduced to what a page can show: texts are cut, and columns with unusable names are left out."""
    form = preview.format
    return {
        "columns": [name for name in preview.columns if can_be_named(name)],
        "format": [form.kind, dict(form.columns), form.rated] if form else None,
        "rows": [{"row": _cut_row(row)} if isinstance(row, Row) else {"bad": _bad(row)} for row in preview.rows],
        "problem": _problem(preview.problem) if preview.problem else None,
        "unused": preview.unused,
    }


def _bad(row: BadRow) -> list[Any]:
    return [row.number, storable(row.reason)[:300], storable(row.raw)[:RAW_CHARACTERS]]


def _problem(problem: BadData) -> list[str]:
    return [storable(problem.cause)[:1000], storable(problem.remedy)[:1000]]


def _cut_row(row: Row) -> list[Any]:
    prompt = [{"role": message["role"], "content": _cut(message["content"])} for message in row.prompt[-_MESSAGES:]]
    return [prompt, *(text and _cut(text) for text in (row.chosen, row.rejected)), row.undecided, row.ratings,
            row.reference and _cut(row.reference)]


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " ..."


if __name__ == "__main__":
    main()
