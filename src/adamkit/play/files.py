"""The page's own files: as the server gives them, and all of them in one."""

import base64
import functools
import json
from pathlib import Path
from typing import Any

from adamkit.lab.insight.charts import theme

_FOLDER = Path(__file__).with_name("page")
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_MODULES = tuple(sorted(path.name for path in _FOLDER.glob("*.js")))
_SCRIPT = "uplot/uPlot.iife.min.js"
_STYLES = ("uplot/uPlot.min.css", "page.css")
STATIC = {*_MODULES, _SCRIPT, *_STYLES}
# Notebooks show the page from another port of this machine.
_FRAMES = "http://127.0.0.1:* http://localhost:* vscode-webview:"


def static(name: str) -> dict[str, Any] | None:
    """One file as the arguments of a response; None where there is none of this name."""
    if name not in STATIC:
        return None
    path = _FOLDER / name
    # Always asked for anew: another release may serve another page at the same address.
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return {"content": path.read_bytes(), "media_type": _TYPES[path.suffix], "headers": headers}


def page(*, framed: bool = False) -> dict[str, Any]:
    """The page as the arguments of a response: its files are asked for by name, and nothing from elsewhere."""
    imports = json.dumps({"imports": {f"play/{name}": f"/static/{name}" for name in _MODULES}})
    digest = base64.b64encode(_sha256(imports)).decode()
    text = _filled(
        head="".join(f'<link rel="stylesheet" href="/static/{name}">\n' for name in _STYLES)
        + f'<script type="importmap">{imports}</script>\n<script src="/static/{_SCRIPT}"></script>\n',
        data=_in_script({"colors": colors()}),
        start='<script type="module" src="/static/main.js"></script>',
    )
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; "
        "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors {_FRAMES if framed else chr(39) + 'none' + chr(39)}"
    )
    headers = {
        "content-security-policy": policy, "cache-control": "no-store", "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }  # fmt: skip
    return {"content": text, "headers": headers}


def whole(data: dict[str, Any]) -> str:
    """The page as one file that needs neither server nor network, with what it shows in it."""
    imports = {
        f"play/{name}": "data:text/javascript;base64," + base64.b64encode((_FOLDER / name).read_bytes()).decode()
        for name in _MODULES
    }
    licence = (_FOLDER / "uplot/LICENSE").read_text(encoding="utf-8")
    policy = "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data: blob:"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    for name in _STYLES:
        head += f"<style>\n{(_FOLDER / name).read_text(encoding='utf-8')}</style>\n"
    head += f'<script type="importmap">{json.dumps({"imports": imports})}</script>\n'
    head += f"<script>/* uPlot\n{licence}*/\n{(_FOLDER / _SCRIPT).read_text(encoding='utf-8')}</script>\n"
    start = '<script type="module">import "play/main.js";</script>'
    return _filled(head=head, data=_in_script({"colors": colors(), **data}), start=start)


@functools.cache
def colors() -> dict[str, dict[str, Any]]:
    """Those of the reports, by look."""
    found = {}
    for look, config in (("light", theme.config()), ("dark", theme.config(dark=True))):
        styles = config["style"]
        found[look] = {
            "lines": config["range"]["category"], "faint": styles[theme.FAINT]["color"],
            "grid": config["axis"]["gridColor"], "ink": config["axis"]["labelColor"],
        }  # fmt: skip
    return found


def _filled(*, head: str, data: str, start: str) -> str:
    text = (_FOLDER / "index.html").read_text(encoding="utf-8")
    for place, part in (("<!-- head -->", head), ("{/* data */}", data), ("<!-- start -->", start)):
        text = text.replace(place, part, 1)
    return text


def _in_script(data: Any) -> str:
    """JSON that cannot end the script that it stands in."""
    return json.dumps(data).replace("<", "\\u003c")


def _sha256(text: str) -> bytes:
    import hashlib

    return hashlib.sha256(text.encode()).digest()
