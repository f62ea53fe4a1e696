"""What a policy says is shown as Markdown, and is never markup of its own."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from webapp.playground.markdown import markdown_html

ELEMENTS = {"p", "strong", "em", "s", "code", "pre", "ul", "ol", "li", "blockquote", "hr", "br", "div", "button",
            "table", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES = {"class", "type", "data-copy", "tabindex", "start", "style"}
HOSTILE = [
    "<script>alert(1)</script>", "<ScRiPt src=//evil.example/x.js></sCrIpT>", "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>", "<iframe src='https://evil.example'></iframe>", "<a href='javascript:alert(1)'>go</a>",
    "[go](javascript:alert(1))", "[go](  JaVaScRiPt:alert(1) )", "[go](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](https://evil.example/pixel.png)", "![x](x \"onerror=alert(1)\")", "<https://evil.example>",
    "[a][1]\n\n[1]: https://evil.example", "**<img src=x onerror=alert(1)>**", "- > 1. <script>alert(1)</script>",
    "| <b onclick=alert(1)> | x |\n|---|:-:|\n| [y](javascript:1) | ![](//evil.example) |",
    "```html\" onmouseover=\"alert(1)\n</code></pre><script>alert(1)</script>\n```", "`<script>alert(1)</script>`",
    "    </pre><script>alert(1)</script>", "[![x](//evil.example/a.png)](//evil.example)",
    "# <style>*{display:none}</style>",
    "<!-- --><script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;", "\\<script>alert(1)</script>",
    "*a*<b>*c*</b><form action=//evil.example><input>", "> " * 200 + "<script>", "[" * 3000, "*_" * 2000,
]


class _Elements(HTMLParser):
    """All elements and attributes of a text as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")


def read(text: str) -> _Elements:
    reader = _Elements()
    reader.feed(markdown_html(text))
    return reader


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_makes_no_element_that_runs_loads_or_links(text: str) -> None:
    html = read(text)
    assert html.elements <= ELEMENTS
    assert set(html.attributes) <= ATTRIBUTES
    assert all(style.startswith("text-align:") for style in html.attributes.get("style", []))


@pytest.mark.parametrize(("text", "expected"), [
    ("**bold** and *soft*", "<strong>bold</strong> and <em>soft</em>"),
    ("- one\n- two", "<ul>\n<li>one</li>"),
    ("1. one\n2. two", "<ol>\n<li>one</li>"),
    ("# Title", '<p class="heading is-h1">Title</p>'),
    ("`x < y`", "<code>x &lt; y</code>"),
    ("one\ntwo", "one<br />\ntwo"),
    ("|a|b|\n|-|-|\n|1|2|", "<td>1</td>"),
    ("[words](https://example.org)", "[words](https://example.org)"),
])
def test_what_markdown_means_is_drawn(text: str, expected: str) -> None:
    assert expected in markdown_html(text)


def test_code_can_be_copied_as_it_was_written() -> None:
    html = read('```python\nprint("<b>")\n```')
    assert html.attributes["data-copy"] == ['print("<b>")\n']


def test_plain_text_stays_as_it_is() -> None:
    assert markdown_html("2 < 3 & ${1} {{x}}") == "<p>2 &lt; 3 &amp; ${1} {{x}}</p>\n"
