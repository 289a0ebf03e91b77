"""How Gradio's own components look beside ours: system fonts, one accent, the colours of `static/tokens.css`."""

from gradio.themes import Base


def theme() -> Base:
    """Built on the plainest theme; every colour is one of our tokens, so light and dark come from one place."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
    look = Base(font=fonts, font_mono=("ui-monospace", "Menlo", "Consolas", "monospace"), radius_size="lg")
    light: dict[str, str] = {
        "body_background_fill": "var(--page)", "body_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--soft)", "background_fill_primary": "var(--card)",
        "background_fill_secondary": "var(--sunk)", "border_color_primary": "var(--line)",
        "border_color_accent": "var(--accent)", "color_accent": "var(--accent)",
        "color_accent_soft": "var(--accent-wash)", "block_background_fill": "var(--card)",
        "block_border_color": "var(--line)", "block_label_text_color": "var(--soft)",
        "block_label_background_fill": "var(--card)", "block_title_text_color": "var(--ink)",
        "block_info_text_color": "var(--soft)", "input_background_fill": "var(--card)",
        "input_border_color": "var(--line-strong)", "input_border_color_focus": "var(--accent)",
        "input_placeholder_color": "var(--soft)", "button_primary_background_fill": "var(--accent)",
        "button_primary_background_fill_hover": "var(--accent-strong)",
        "button_primary_text_color": "var(--on-accent)",
        "button_primary_text_color_hover": "var(--on-accent)",
        "button_secondary_background_fill": "var(--card)",
        "button_secondary_background_fill_hover": "var(--sunk)",
        "button_secondary_border_color": "var(--line-strong)", "button_secondary_text_color": "var(--ink)",
        "button_secondary_text_color_hover": "var(--ink)", "link_text_color": "var(--accent)",
        "link_text_color_hover": "var(--accent-strong)", "slider_color": "var(--accent)",
        "checkbox_background_color_selected": "var(--accent)", "checkbox_border_color_selected": "var(--accent)",
        "checkbox_label_background_fill": "var(--card)",
        "checkbox_label_background_fill_selected": "var(--accent-wash)",
        "checkbox_label_text_color_selected": "var(--ink)", "checkbox_background_color": "var(--card)",
        "error_background_fill": "var(--bad-wash)", "error_text_color": "var(--bad)",
        "error_border_color": "var(--bad)", "block_shadow": "none", "shadow_drop": "none",
    }  # fmt: skip
    dark = {f"{name}_dark": value for name, value in light.items() if f"{name}_dark" in _names()}
    return look.set(**light, **dark)


def _names() -> tuple[str, ...]:
    return Base.set.__code__.co_varnames
