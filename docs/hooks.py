"""What MkDocs does to our pages beside its own: ```math blocks (LaTeX, as on GitHub) become MathML.

Browsers draw MathML themselves, so that formulas need no script, no font and no network.
"""

from typing import Any

from latex2mathml import converter


def on_config(config: Any) -> Any:
    """Tell the extension that knows code blocks about formulas."""
    superfences = config["mdx_configs"]["pymdownx.superfences"]
    superfences["custom_fences"] = [{"name": "math", "class": "math", "format": formula}]
    return config


def formula(source: str, language: str, css_class: str, options: dict, markdown: Any, **kwargs: Any) -> str:
    """The MathML of a block of LaTeX."""
    return f'<div class="{css_class}">{converter.convert(source.strip(), display="block")}</div>'
