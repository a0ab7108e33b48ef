"""How fast the page of a sweep of 1,000 settings is made, and opens in Chromium. Prints; needs Playwright and Chromium.

python -m benchmarks.report_page

The sweep is made up, since its figures do not matter here: three hyperparameters, 50 epochs, one in fifty diverging.
"Text" is when it is painted; "first chart" when the first is drawn; "all charts" when the last is.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

from adamkit.lab.insight import reports
from adamkit.lab.insight.reports import sweep
from adamkit.lab.sweeping.spaces import draw
from benchmarks.report import show

SETTINGS, EPOCHS, RUNS, WARM_UPS = 1000, 50, 7, 2
CHROMIUM = "/usr/bin/chromium"
OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
# Seconds since navigation began, when each is seen.
WATCH = """
    const since = () => performance.now() / 1000;
    new PerformanceObserver((list) => { window.readable ??= list.getEntries()[0].startTime / 1000; })
        .observe({ type: "paint", buffered: true });
    new MutationObserver(() => {
        if (window.first === undefined && document.querySelector(".view canvas")) window.first = since();
        if (window.all === undefined && document.documentElement.dataset.drawn === "all") window.all = since();
    }).observe(document, { subtree: true, childList: true, attributes: true });
"""


def main() -> None:
    """Make the page, open it again and again, and print medians."""
    space = {"learning_rate": "1e-5..1", "beta_1": "0.5..0.99", "beta_2": "0.9..0.9999"}
    settings = draw(space, SETTINGS)
    history = made_up(settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        times: dict[str, list[float]] = {}
        for _ in range(3):
            began = time.perf_counter()
            page = sweep.page(history, list(settings[0]), "val_loss", settings=len(settings))
            reports.write(page, path)
            times.setdefault("made", []).append(time.perf_counter() - began)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
            for run in range(WARM_UPS + RUNS):
                tab = browser.new_page(viewport={"width": 1200, "height": 800})
                tab.add_init_script(WATCH)
                tab.goto(path.as_uri())
                tab.wait_for_function("window.all !== undefined", timeout=120_000)
                found = tab.evaluate("({text: window.readable, 'first chart': window.first, 'all charts': window.all})")
                tab.close()
                for name, seconds in found.items() if run >= WARM_UPS else ():
                    times.setdefault(name, []).append(seconds)
            browser.close()
        medians = {f"{name} (s)": statistics.median(values) for name, values in times.items()}
        show(
            f"the page of {SETTINGS:,} settings, {EPOCHS} epochs each",
            [{"MB": path.stat().st_size / 1e6} | medians],
        )


def made_up(settings: list[dict]) -> pd.DataFrame:
    """Losses that fall over the epochs to what depends on the learning rate."""
    rates = np.array([setting["learning_rate"] for setting in settings])
    epochs = np.arange(1, EPOCHS + 1)
    noise = np.random.default_rng(0).normal(1, 0.05, (len(settings), EPOCHS))
    loss = (0.05 + np.log10(rates / 0.003)[:, None] ** 2) * (1 + 3 / epochs) * noise
    loss[rates > 0.8] = np.inf
    table = pd.DataFrame({"setting": np.repeat(np.arange(len(settings)), EPOCHS), "seed": 0})
    for name in settings[0]:
        table[name] = np.repeat([setting[name] for setting in settings], EPOCHS)
    return table.assign(epoch=np.tile(epochs, len(settings)), val_loss=loss.ravel())


if __name__ == "__main__":
    main()
