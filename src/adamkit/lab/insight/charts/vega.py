"""Vega for pages of charts, so that they need no network: Vega, Vega-Lite and Vega-Embed in one script.

vl-convert, which Altair saves with, holds and bundles them. That takes seconds, more than a training run, so the bundle
is kept in the user's cache folder (`adamkit.cache`), for each release of vl-convert anew.
"""

import contextlib
import gzip
import importlib.metadata
from pathlib import Path

from adamkit import cache


def script() -> str:
    """JavaScript that gives a page the function `vegaEmbed`."""
    path = _kept_at()
    kept = None if path is None else cache.read(path)
    if kept is not None:
        return gzip.decompress(kept).decode()
    made = _bundled()
    if path is not None:
        with contextlib.suppress(OSError):  # a folder that cannot be written: bundled anew the next time
            cache.write(path, gzip.compress(made.encode(), mtime=0))
    return made


def _kept_at() -> Path | None:
    folder = cache.folder()
    release = importlib.metadata.version("vl-convert-python")
    return None if folder is None else folder / "pages" / f"vega-{release}.js.gz"


def _bundled() -> str:
    import vl_convert

    versions = f"Vega {vl_convert.get_vega_version()}, Vega-Lite {vl_convert.get_vegalite_versions()[-1]}"
    notice = f"/* {versions}, Vega-Embed {vl_convert.get_vega_embed_version()}, and D3: BSD-3-Clause and ISC.\n"
    notice += (
        "Copyright University of Washington Interactive Data Lab; Mike Bostock. See vega.github.io, d3js.org. */\n"
    )
    return notice + vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
