"""Markdown of an answer as safe HTML: what a model says is never markup, never loads anything and links nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

# Without these rules, links, images and HTML stay the text that they are: a link shows its words and its address.
_OFF = ["link", "image", "autolink", "reference", "html_inline", "html_block"]


class _Renderer(RendererHTML):
    """HTML with a copy button on code, and headings that stay outside the page's own outline."""

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return _code(tokens[idx].content)

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return _code(tokens[idx].content)

    def heading_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f'<p class="heading is-{tokens[idx].tag}">'

    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</p>\n"


def _code(text: str) -> str:
    return (f'<div class="code-block"><button type="button" class="copy" data-copy="{escape(text)}">Copy code</button>'
            f'<pre tabindex="0"><code>{escape(text)}</code></pre></div>\n')


_MARKDOWN = (MarkdownIt("commonmark", {"html": False, "breaks": True}, renderer_cls=_Renderer)
             .enable(["table", "strikethrough"]).disable(_OFF))


def markdown_html(text: str) -> SafeString:
    """The text as HTML. Its elements are those that Markdown's own rules make, and its text is escaped.

    >>> markdown_html("**Yes** <img src=x>")
    '<p><strong>Yes</strong> &lt;img src=x&gt;</p>\\n'
    """
    return mark_safe(_MARKDOWN.render(text))
