"""The pane's look: it uses the site's CSS custom properties, so that it follows the site's theme."""

from __future__ import annotations

import gradio as gr
from django.templatetags.static import static
from django.urls import reverse

_SHEETS = ("css/concord.css", "css/data.css", "css/playground.css")
_COLOURS = {
    "body_background_fill": "var(--bg)", "body_text_color": "var(--text)", "body_text_color_subdued": "var(--muted)",
    "background_fill_primary": "var(--surface)", "background_fill_secondary": "var(--bg)",
    "border_color_primary": "var(--line)", "border_color_accent": "var(--accent)", "color_accent": "var(--accent)",
    "color_accent_soft": "var(--accent-soft)", "link_text_color": "var(--accent)",
    "block_background_fill": "var(--surface)", "block_border_color": "var(--line)",
    "block_label_background_fill": "var(--surface)", "block_label_text_color": "var(--muted)",
    "block_title_text_color": "var(--text)", "block_info_text_color": "var(--muted)",
    "input_background_fill": "var(--surface)", "input_border_color": "var(--line-strong)",
    "input_border_color_focus": "var(--accent)", "input_placeholder_color": "var(--muted)",
    "button_primary_background_fill": "var(--accent)", "button_primary_background_fill_hover": "var(--accent-strong)",
    "button_primary_text_color": "var(--on-accent)", "button_primary_border_color": "var(--accent)",
    "button_secondary_background_fill": "var(--surface)", "button_secondary_background_fill_hover": "var(--raised)",
    "button_secondary_text_color": "var(--text)", "button_secondary_border_color": "var(--line-strong)",
    "button_cancel_background_fill": "var(--surface)", "button_cancel_background_fill_hover": "var(--bad-soft)",
    "button_cancel_text_color": "var(--bad)", "button_cancel_border_color": "var(--bad)",
    "slider_color": "var(--accent)",
}


def theme() -> gr.themes.Base:
    """Gradio's plain theme with the site's colours; no font is loaded from anywhere."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "sans-serif")
    base = gr.themes.Base(font=list(fonts), font_mono=["ui-monospace", "monospace"], radius_size="sm", text_size="md",
                          spacing_size="sm")
    colours = {name: value for name, value in _COLOURS.items() if hasattr(base, name)}
    dark = {f"{name}_dark": value for name, value in colours.items() if hasattr(base, f"{name}_dark")}
    return base.set(**colours, **dark)


HEAD = "".join(f'<link rel="stylesheet" href="{address}">'
               for address in (*(static(sheet) for sheet in _SHEETS), reverse("principles:hues")))
