"""Comparisons of summarize-from-feedback (arXiv 2009.01325): a post or an article, two summaries, and the choice.

The prompt is worded as in the paper: SUBREDDIT, TITLE, POST, and "TL;DR:" at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training.data.formats.comparison import pair_of
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.values import number_at, object_at, objects_at, text_at
from training.data.messages import UnusableRow, checked_prompt

_PARTS = (("subreddit", "SUBREDDIT: r/"), ("title", "TITLE: "), ("post", "POST: "), ("article", "ARTICLE: "))


def _rows(record: Record) -> Iterator[Made]:
    summaries = objects_at(record, "summaries")
    if len(summaries) != 2:
        raise UnusableRow(f"'summaries' holds {len(summaries)} summaries, not 2")
    choice = number_at(record, "choice")
    if choice not in (0, 1):
        raise UnusableRow(f"'choice' is {str(record.get('choice'))[:50]!r}, not 0 or 1")
    content = _source(object_at(record, "info"))
    yield pair_of(checked_prompt([{"role": "user", "content": content}]), text_at(summaries[0], "text"),
                  text_at(summaries[1], "text"), "a" if choice == 0 else "b")


def _source(info: Mapping[str, Any]) -> str:
    texts = {name: info[name].strip() for name, _ in _PARTS if isinstance(info.get(name), str) and info[name].strip()}
    if "post" not in texts and "article" not in texts:
        raise UnusableRow("'info' holds neither a 'post' nor an 'article'")
    return "\n".join(start + texts[name] for name, start in _PARTS if name in texts) + "\nTL;DR:"


SUMMARIES = Layout("summaries", "posts with two summaries and a choice (summarize-from-feedback)",
                   ("info", "summaries", "choice"), each(_rows))
