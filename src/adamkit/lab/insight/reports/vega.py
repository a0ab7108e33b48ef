"""Vega for the pages, so that they need no network: Vega, Vega-Lite and Vega-Embed in one script.

`vega.js.gz` is what vl-convert, which Altair saves with, makes of them. That takes seconds, more than a training run,
so it is kept here. `python -m adamkit.lab.insight.reports.vega` makes it anew after vl-convert has changed; a test
holds it to that. Its licences are in `vega.LICENSE`.
"""

import gzip
from pathlib import Path

_FILE = Path(__file__).with_name("vega.js.gz")


def script() -> str:
    """JavaScript that gives a page the function `vegaEmbed`."""
    return gzip.decompress(_FILE.read_bytes()).decode()


def made() -> bytes:
    """The file's bytes, made anew."""
    import vl_convert

    versions = f"Vega {vl_convert.get_vega_version()}, Vega-Lite {vl_convert.get_vegalite_versions()[-1]}"
    notice = f"/* {versions}, Vega-Embed {vl_convert.get_vega_embed_version()}, and D3: BSD-3-Clause and ISC.\n"
    notice += (
        "Copyright University of Washington Interactive Data Lab; Mike Bostock. See vega.github.io, d3js.org. */\n"
    )
    code = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return gzip.compress((notice + code).encode(), compresslevel=9, mtime=0)


if __name__ == "__main__":
    _FILE.write_bytes(made())
