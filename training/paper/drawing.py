"""Charts as SVG text: a few dozen lines in place of a plotting library, in the colours of the pages. Torch-free.

Readable on paper and on a screen, light or dark: its own background, one accent, numbers in every cell. Left out:
animation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

INK, MUTED, LINE, GROUND, ACCENT, SECOND = "#1c2430", "#66707f", "#d9dee6", "#ffffff", "#3b5bdb", "#c2570c"
FONT = "font-family='system-ui, -apple-system, Segoe UI, Roboto, sans-serif'"


class Point(NamedTuple):
    """A value with its interval, both in [0, 1], and how it is named."""

    label: str
    value: float
    low: float
    high: float
    accent: bool = False


class Mark(NamedTuple):
    """A published value, or a span of them, drawn behind the points."""

    label: str
    low: float
    high: float


def whiskers(title: str, points: Sequence[Point], marks: Sequence[Mark] = (), axis: str = "%",
             floor: float = 0.0) -> str:
    """One row per value: a dot, its interval, and the number; published spans as bands behind all rows."""
    left, right, row, top = 220.0, 120.0, 26.0, 58.0 + 16 * len(marks)
    width, bottom = 790.0, 34.0
    height = top + row * len(points) + bottom
    scale = _scale(left, width - right, floor, 1.0)
    parts = [_text(16, 26, title, size=15, weight=650)]
    for i, mark in enumerate(marks):
        x, end = scale(mark.low), scale(mark.high)
        parts.append(f"<rect x='{x:.1f}' y='{top - 6:.1f}' width='{max(end - x, 1.5):.1f}' "
                     f"height='{row * len(points) + 6:.1f}' fill='{SECOND}' fill-opacity='0.13'/>")
        parts.append(_text(16, 46 + 16 * i, f"▒ {mark.label}", size=11, color=SECOND))
    parts += _ticks(scale, top - 6, height - bottom, floor, axis)
    for i, point in enumerate(points):
        y = top + row * i + row / 2
        color = ACCENT if point.accent else INK
        parts.append(_text(left - 10, y + 4, point.label, anchor="end"))
        parts.append(f"<line x1='{scale(point.low):.1f}' x2='{scale(point.high):.1f}' y1='{y}' y2='{y}' "
                     f"stroke='{color}' stroke-width='2' stroke-opacity='0.45' stroke-linecap='round'/>")
        parts.append(f"<circle cx='{scale(point.value):.1f}' cy='{y}' r='4.5' fill='{color}'/>")
        parts.append(_text(width - right + 12, y + 4, f"{100 * point.value:.1f}"))
        parts.append(_text(width - 14, y + 4, f"{100 * point.low:.0f} to {100 * point.high:.0f}", anchor="end", size=11,
                           color=MUTED))
    return _svg(width, height, title, parts)


def matrix(title: str, names: Sequence[str], cell: Callable[[int, int], float | None], note: str = "") -> str:
    """A square of shares, row over column: blue above a half, orange below; None is left blank."""
    size, left, top = 46.0, 170.0, 150.0
    width, height = left + size * len(names) + 84, top + size * len(names) + 34
    parts = [_text(16, 26, title, size=15, weight=650), _text(16, height - 12, note, size=11, color=MUTED)]
    for i, name in enumerate(names):
        parts.append(_text(left - 10, top + size * i + size / 2 + 4, name, anchor="end"))
        x = left + size * i + size / 2 + 4
        parts.append(f"<text x='{x:.1f}' y='{top - 10}' font-size='12' fill='{INK}' {FONT} "
                     f"transform='rotate(-45 {x:.1f} {top - 10})'>{escape(name)}</text>")
        for j in range(len(names)):
            value = cell(i, j)
            if value is None:
                continue
            strength = min(1.0, abs(value - 0.5) * 2)
            color = ACCENT if value >= 0.5 else SECOND
            x, y = left + size * j, top + size * i
            parts.append(f"<rect x='{x + 1:.1f}' y='{y + 1:.1f}' width='{size - 2}' height='{size - 2}' rx='4' "
                         f"fill='{color}' fill-opacity='{0.06 + 0.84 * strength:.2f}'/>")
            parts.append(_text(x + size / 2, y + size / 2 + 4, f"{100 * value:.0f}", anchor="middle",
                               color="#ffffff" if strength > 0.6 else INK))
    return _svg(width, height, title, parts)


def line(title: str, points: Sequence[Point], across: str, marks: Sequence[Mark] = (), floor: float = 0.4) -> str:
    """A line from left to right through the values, a band between their low and high ends."""
    left, top, width, height, bottom = 56.0, 66.0 + 16 * len(marks), 640.0, 380.0, 56.0
    step = (width - left - 40) / max(1, len(points) - 1)
    scale = _scale(height - bottom, top, floor, 1.0)
    parts = [_text(16, 26, title, size=15, weight=650)]
    for i, mark in enumerate(marks):
        parts.append(_text(16, 46 + 16 * i, f"┄ {mark.label}", size=11, color=SECOND))
        parts.append(f"<line x1='{left}' x2='{width - 40}' y1='{scale(mark.low):.1f}' y2='{scale(mark.high):.1f}' "
                     f"stroke='{SECOND}' stroke-dasharray='5 4' stroke-width='1.5'/>")
    for tick in _steps(floor):
        y = scale(tick)
        parts.append(f"<line x1='{left}' x2='{width - 24}' y1='{y:.1f}' y2='{y:.1f}' stroke='{LINE}'/>")
        parts.append(_text(left - 8, y + 4, f"{100 * tick:.0f}", anchor="end", size=11, color=MUTED))
    xs = [left + 8 + step * i for i in range(len(points))]
    band = [f"{x:.1f},{scale(point.high):.1f}" for x, point in zip(xs, points, strict=True)]
    band += [f"{x:.1f},{scale(point.low):.1f}" for x, point in zip(xs[::-1], points[::-1], strict=True)]
    parts.append(f"<polygon points='{' '.join(band)}' fill='{ACCENT}' fill-opacity='0.13'/>")
    path = " ".join(f"{x:.1f},{scale(point.value):.1f}" for x, point in zip(xs, points, strict=True))
    parts.append(f"<polyline points='{path}' fill='none' stroke='{ACCENT}' stroke-width='2'/>")
    for x, point in zip(xs, points, strict=True):
        parts.append(f"<circle cx='{x:.1f}' cy='{scale(point.value):.1f}' r='4.5' fill='{ACCENT}'/>")
        parts.append(_text(x, scale(point.value) - 10, f"{100 * point.value:.1f}", anchor="middle", size=11))
        parts.append(_text(x, height - bottom + 18, point.label, anchor="middle", size=11, color=MUTED))
    parts.append(_text(width / 2, height - 14, across, anchor="middle", size=11, color=MUTED))
    return _svg(width, height, title, parts)


class Series(NamedTuple):
    """Points (x, y) in [0, 1] of one kind; those that are on the front of their kind are joined by a line."""

    label: str
    points: Sequence[tuple[float, float]]
    on_front: Sequence[bool]
    color: str


def scatter(title: str, series: Sequence[Series], across: str, up: str, low: float = 0.0, high: float = 1.0) -> str:
    """Kinds of points in the plane of two objectives, each with its front as a line; dominated points are pale."""
    left, top, size, bottom = 62.0, 60.0 + 18 * len(series), 480.0, 56.0
    width, height = left + size + 24, top + size + bottom
    x_of, y_of = _scale(left, left + size, low, high), _scale(top + size, top, low, high)
    parts = [_text(16, 26, title, size=15, weight=650)]
    for tick in (step / 10 for step in range(math.ceil(low * 10), math.floor(high * 10) + 1)):
        x, y = x_of(tick), y_of(tick)
        parts += [f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top}' y2='{top + size}' stroke='{LINE}'/>",
                  f"<line x1='{left}' x2='{left + size}' y1='{y:.1f}' y2='{y:.1f}' stroke='{LINE}'/>",
                  _text(x, top + size + 18, f"{100 * tick:.0f}", anchor="middle", size=11, color=MUTED),
                  _text(left - 8, y + 4, f"{100 * tick:.0f}", anchor="end", size=11, color=MUTED)]
    for index, kind in enumerate(series):
        front = sorted(point for point, is_best in zip(kind.points, kind.on_front, strict=True) if is_best)
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in front)
        parts += [f"<circle cx='22' cy='{46 + 18 * index}' r='4.5' fill='{kind.color}'/>",
                  _text(34, 50 + 18 * index, kind.label, size=12),
                  f"<polyline points='{path}' fill='none' stroke='{kind.color}' stroke-width='1.5'/>"]
        parts += [f"<circle cx='{x_of(x):.1f}' cy='{y_of(y):.1f}' r='4.5' fill='{kind.color}' "
                  f"fill-opacity='{1 if is_best else 0.3}'/>"
                  for (x, y), is_best in zip(kind.points, kind.on_front, strict=True)]
    middle = top + size / 2
    parts += [_text(left + size / 2, height - 14, across, anchor="middle", size=11, color=MUTED),
              f"<g transform='rotate(-90 16 {middle})'>"
              f"{_text(16, middle, up, anchor='middle', size=11, color=MUTED)}</g>"]
    return _svg(width, height, title, parts)


def _scale(start: float, end: float, low: float, high: float) -> Callable[[float], float]:
    return lambda value: start + (end - start) * (min(max(value, low), high) - low) / (high - low)


def _steps(floor: float) -> list[float]:
    return [tick / 10 for tick in range(round(floor * 10), 11)]


def _ticks(scale: Callable[[float], float], top: float, bottom: float, floor: float, unit: str) -> list[str]:
    parts = []
    for tick in _steps(floor):
        x, bold = scale(tick), tick == 0.5
        parts.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top:.1f}' y2='{bottom:.1f}' "
                     f"stroke='{MUTED if bold else LINE}' stroke-width='{1.2 if bold else 1}'/>")
        parts.append(_text(x, bottom + 16, f"{100 * tick:.0f}", anchor="middle", size=11, color=MUTED))
    return [*parts, _text(scale(1.0) + 14, bottom + 16, unit, size=11, color=MUTED)]


def _text(x: float, y: float, text: str, size: int = 12, color: str = INK, anchor: str = "start",
          weight: int = 400) -> str:
    return (f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' fill='{color}' text-anchor='{anchor}' "
            f"font-weight='{weight}' {FONT}>{escape(text)}</text>")


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    body = "\n".join(part for part in parts if part)
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' "
            f"height='{height:.0f}' role='img' aria-label='{escape(title, quote=True)}'>\n"
            f"<rect width='100%' height='100%' rx='8' fill='{GROUND}' stroke='{LINE}'/>\n{body}\n</svg>\n")
