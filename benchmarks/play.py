"""How fast `adamkit play` answers, beside one `model.fit` of the same. Prints; needs Playwright and Chromium.

python -m benchmarks.play

On the example: 200 random settings, each asked for by a request and answered with its exact curve; the command from
its start to its first curve, beside the imports alone; and the page's redraw after a slider event, with 1,000 curves
behind. On digits with the CNN: settings of five epochs, after compilation.
"""

import http.client
import json
import statistics
import subprocess
import sys
import time

import keras
import numpy as np
from playwright.sync_api import sync_playwright

from adamkit.keras import Adam
from adamkit.lab import runs
from adamkit.lab.sweeping import spaces
from adamkit.play.archive import Run
from adamkit.play.server import Play
from adamkit.play.serving import Serving
from adamkit.play.subject import of_settings
from benchmarks.report import show

REQUESTS, WARM_UPS, FITS, CURVES, MOVES = 200, 5, 7, 1000, 50
OF_CNN, EPOCHS_OF_CNN = 20, 5
SPACE = {"learning_rate": "1e-5..0.1", "beta_1": "0..0.99", "beta_2": "0.9..0.9999", "epsilon": "1e-10..1e-2"}
IMPORTS = (
    "import adamkit.cli.options as o; o.use_backend('jax'); import adamkit.play.server, adamkit.play.serving, "
    "adamkit.keras, adamkit.lab.comparing.optimizers, sklearn, pandas"
)
CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# Milliseconds from a slider's event until the page has drawn what it says.
MOVE = """async (place) => {
    const slider = document.getElementById("slider-learning_rate");
    slider.value = place;
    const began = performance.now();
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((drawn) => adamkit.app.listeners.push(function last() {
        adamkit.app.listeners.splice(adamkit.app.listeners.indexOf(last), 1);
        drawn();
    }));
    return performance.now() - began;
}"""


def main() -> None:
    """Measure, and print tables."""
    fit = [seconds_of_fit() for _ in range(2 + FITS)][2:]
    serving = Serving(Play(of_settings(runs.Settings())))
    serving.start()
    try:
        answers = seconds_of_requests(serving, REQUESTS)
        redraws = milliseconds_of_redraws(serving)
    finally:
        serving.close()
    serving = Serving(Play(of_settings(runs.Settings(data="digits", model="cnn", epochs=EPOCHS_OF_CNN))))
    serving.start()
    try:
        of_cnn = seconds_of_requests(serving, OF_CNN)
    finally:
        serving.close()
    show(
        "the example, 50 epochs: a setting's exact curve (s)",
        [
            {"what": f"{REQUESTS} requests to the page's server", "median": statistics.median(answers),
             "95th percentile": answers[int(0.95 * REQUESTS)]},
            {"what": "model.fit, each further run", "median": statistics.median(fit), "95th percentile": max(fit)},
        ],
    )  # fmt: skip
    show(
        f"the CNN on digits, {EPOCHS_OF_CNN} epochs: a setting's exact curve, after compilation (s)",
        [
            {"what": f"{OF_CNN} requests", "median": statistics.median(of_cnn),
             "95th percentile": of_cnn[int(0.95 * OF_CNN)]}
        ],
    )  # fmt: skip
    first = [seconds_to_first_curve() for _ in range(3)]
    imports = [seconds_of(sys.executable, "-c", IMPORTS) for _ in range(3)]
    show(
        "from the command to the first curve (s)",
        [{"command": statistics.median(first), "imports alone": statistics.median(imports)}],
    )
    redraws.sort()
    show(
        f"a slider event until it is drawn, {CURVES:,} curves behind (ms)",
        [{"median": statistics.median(redraws), "95th percentile": redraws[int(0.95 * MOVES)]}],
    )


def seconds_of_requests(serving: Serving, n: int) -> list[float]:
    """For so many settings after some to warm up, from the fastest to the slowest."""
    found = [seconds_of_request(serving.address, setting) for setting in spaces.draw(SPACE, WARM_UPS + n)]
    return sorted(found[WARM_UPS:])


def seconds_of_request(address: str, setting: dict) -> float:
    """One exact curve, over HTTP."""
    host = address.removeprefix("http://").rstrip("/")
    began = time.perf_counter()
    connection = http.client.HTTPConnection(host)
    body = json.dumps({"tab": "benchmark", "choice": {"values": setting}})
    connection.request("POST", "/api/train", body, {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    assert answer["alone"]
    return time.perf_counter() - began


def seconds_of_fit() -> float:
    """One run of the example by Keras, in a process that has compiled it."""
    global _PREPARED
    if _PREPARED is None:
        _PREPARED = runs.training.prepare(runs.Settings())
        _PREPARED.model.compile(Adam(), loss="binary_crossentropy", metrics=["accuracy"])
    began = time.perf_counter()
    _PREPARED.model.fit(_PREPARED.train.x, _PREPARED.train.y, epochs=50, batch_size=32, verbose=0)
    return time.perf_counter() - began


_PREPARED: runs.training.Prepared | None = None


def milliseconds_of_redraws(serving: Serving) -> list[float]:
    """Of slider events in Chromium."""
    play = serving.play
    chosen = [play.subject.start.with_values(setting) for setting in spaces.draw(SPACE, CURVES, seed=1)]
    for begin in range(0, CURVES, play.bench.size):
        part = chosen[begin : begin + play.bench.size]
        curves = np.stack(list(play.bench.epochs(part, play.bench.size)), axis=1)
        play.archive.add([Run(choice, curve, False) for choice, curve in zip(part, curves, strict=True)])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.goto(serving.address)
        while tab.evaluate("adamkit.app.runs.byKey.size") < CURVES:
            tab.wait_for_timeout(200)
        tab.wait_for_timeout(3000)
        found = [tab.evaluate(MOVE, 40 + move % 60) for move in range(WARM_UPS + MOVES)][WARM_UPS:]
        browser.close()
    return found


def seconds_to_first_curve() -> float:
    """A new process of the command, as a user has it who has run it before."""
    command = [sys.executable, "-m", "adamkit", "play", "--no-browser"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("play ").strip()
        seconds_of_request(address, {})
        seconds = time.perf_counter() - began
        process.terminate()
    return seconds


def seconds_of(*command: str) -> float:
    """A process."""
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    assert keras.backend.backend() == "jax", "run with KERAS_BACKEND=jax"
    main()
