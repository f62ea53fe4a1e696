"""The colours of principles, made readable: the same hue for a principle everywhere, on light and on dark pages.

Contrast is measured as in WCAG 2.1; a hue is mixed with black or white just enough for the page behind it.
"""

from __future__ import annotations

import re

_LIGHT, _DARK = "#f1f3f5", "#1f242b"  # the least favourable backgrounds of each theme
_SHAPES, _TEXT = 3.0, 4.6  # contrast that lines and that letters need
_HEX = re.compile(r"^#[0-9A-Fa-f]{6}$")
_NAME = re.compile(r"^[a-zA-Z0-9_-]+$")


def stylesheet(hues: dict[str, str]) -> str:
    """A class `hue-NAME` for each principle, which sets `--hue` (shapes) and `--hue-text` (letters)."""
    rules = [_rule(name, hue) for name, hue in hues.items() if _NAME.match(name) and _HEX.match(hue)]
    return "\n".join(rules) + "\n"


def _rule(name: str, hue: str) -> str:
    shapes = f"light-dark({readable(hue, _LIGHT, _SHAPES)}, {readable(hue, _DARK, _SHAPES)})"
    text = f"light-dark({readable(hue, _LIGHT, _TEXT)}, {readable(hue, _DARK, _TEXT)})"
    return f".hue-{name} {{ --hue: {shapes}; --hue-text: {text}; }}"


def readable(hue: str, background: str, ratio: float) -> str:
    """The hue, darkened or lightened in small steps until it stands out from the background by `ratio`."""
    target = (0, 0, 0) if _luminance(_rgb(background)) > 0.2 else (255, 255, 255)
    start = _rgb(hue)
    for step in range(0, 101, 2):
        mixed = tuple(round(a + (b - a) * step / 100) for a, b in zip(start, target, strict=True))
        if contrast(_hex(mixed), background) >= ratio:
            return _hex(mixed)
    return _hex(target)


def contrast(first: str, second: str) -> float:
    high, low = sorted((_luminance(_rgb(first)), _luminance(_rgb(second))), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(rgb: tuple[int, ...]) -> float:
    red, green, blue = (value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _rgb(value: str) -> tuple[int, ...]:
    return tuple(int(value[start:start + 2], 16) for start in (1, 3, 5))


def _hex(rgb: tuple[int, ...]) -> str:
    return "#" + "".join(f"{value:02x}" for value in rgb)
