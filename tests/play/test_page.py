"""The page in headless Chromium: what it shows is what `lab.train` gives, by mouse, by keyboard, and after mishaps."""

import re
import threading

import numpy as np
import pytest

from adamkit.play.server import Play
from adamkit.play.serving import Serving

pytestmark = pytest.mark.slow


def assert_shown(tab, figures):
    """Each figure is `lab.train`'s to the last digit shown; a rounding apart, should it lie between two."""
    choice = tab.exact()
    shown, expected = tab.figures(), figures(choice)
    assert shown.keys() == set(expected.index) - {"epoch", "seconds"}
    for name, text in shown.items():
        digits = len(re.sub(r"e.*|[.\-]", "", text).lstrip("0"))
        unit = 10.0 ** (np.floor(np.log10(abs(float(text)))) - digits + 1)
        assert abs(float(text) - expected[name]) <= 0.5 * unit * 1.01, f"{name} of {choice}"
    return choice


@pytest.fixture(scope="module")
def tab(browser, served):
    from tests.play.conftest import Tab

    context = browser.new_context(viewport={"width": 1200, "height": 900})
    yield Tab(context.new_page()).open(served.address)
    context.close()


def test_each_slider_answers_to_mouse_and_keyboard_with_what_lab_train_gives(tab, figures):
    ranges = tab.page.locator("input[type=range]:visible")
    names = ["learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay", "warmup_steps", "cosine_alpha"]
    assert ranges.count() == len(names) + 1
    before = tab.exact()
    for i, name in enumerate(names):
        slider = tab.page.locator(f"#slider-{name}")
        if i % 2:
            slider.focus()
            for _ in range(3):
                tab.page.keyboard.press("ArrowLeft" if name == "beta_1" else "ArrowRight")
        else:
            box = slider.bounding_box()
            tab.page.mouse.click(box["x"] + 0.7 * box["width"], box["y"] + box["height"] / 2)
        after = assert_shown(tab, figures)
        assert after["values"] != before["values"]
        assert after["values"] == before["values"] | {name: after["values"][name]}
        before = after
    assert tab.said == []
    assert all(url.startswith(("http://127.0.0.1:", "data:")) for url in tab.requests)


def test_typed_values_switches_and_undo(tab, figures):
    tab.page.click("#reset")
    start = tab.exact()
    field = tab.page.get_by_label("learning rate, exact value")
    field.fill("0.0123")
    field.press("Enter")
    assert assert_shown(tab, figures)["values"]["learning_rate"] == 0.0123
    tab.page.get_by_role("checkbox", name="momentum").uncheck()
    assert tab.exact()["values"]["beta_1"] == 0
    tab.page.get_by_role("checkbox", name="adaptivity").uncheck()
    assert assert_shown(tab, figures)["values"] == start["values"] | {
        "learning_rate": 0.0123, "beta_1": 0, "adaptivity": False,
    }  # fmt: skip
    for _ in range(3):
        tab.page.click("#undo")
    assert tab.exact() == start
    field.fill("-1")
    field.press("Enter")
    tab.page.get_by_text("learning_rate must be a finite number >= 0. Received: learning_rate=-1").wait_for()
    tab.page.click("#undo")
    assert tab.exact() == start


def test_pins_and_the_address_bring_back_what_is_seen(tab, tabs):
    tab.page.click("#reset")
    tab.page.click("#pin")
    pinned = tab.figures()
    tab.page.get_by_label("Name of pin 1").fill("the paper's & <b>mine</b>")
    tab.page.get_by_label("Name of pin 1").press("Enter")
    tab.page.focus("#slider-learning_rate")
    tab.page.keyboard.press("PageUp")
    choice = tab.exact()
    tab.page.wait_for_url(re.compile(r"#learning_rate=.*pin="))
    other = tabs(tab.page.url)
    assert other.choice() == choice
    assert other.figures() == tab.figures()
    assert other.page.get_by_label("Name of pin 1").input_value() == "the paper's & <b>mine</b>"
    assert other.page.locator("#pins td.number").all_inner_texts() == list(pinned.values())
    other.page.get_by_role("button", name="Show the paper's").click()
    other.exact()
    assert other.figures() == pinned
    assert tab.choice() == choice  # the first tab is as it was


def test_the_map_sets_the_sliders_by_click_and_by_keys(tab, figures):
    tab.page.click("#reset")
    tab.exact()
    tab.page.locator("#map select").nth(1).select_option("beta_2")
    tab.page.wait_for_selector("#words li", timeout=120_000)
    tab.page.locator("#map-caption", has_text=re.compile(r"^(2[5-9]|[3-9]\d|\d{3}) runs")).wait_for(timeout=120_000)
    plane = tab.page.locator("canvas.plane")
    box = plane.bounding_box()
    plane.click(position={"x": 0.55 * box["width"], "y": 0.3 * box["height"]})
    clicked = assert_shown(tab, figures)
    start = tab.page.evaluate("adamkit.app.subject.start")
    changed = {name for name in start["values"] if clicked["values"][name] != start["values"][name]}
    assert changed <= {"learning_rate", "beta_2"}
    assert clicked["values"]["learning_rate"] != start["values"]["learning_rate"]
    plane.focus()
    tab.page.mouse.move(0, 0)
    tab.page.keyboard.press("ArrowLeft")
    tab.page.keyboard.press("Enter")
    assert tab.exact()["values"]["learning_rate"] < clicked["values"]["learning_rate"]
    tab.page.click("#best")
    best = tab.exact()
    losses = tab.page.evaluate("[...adamkit.app.runs.byKey.values()].map((run) => run.loss)")
    assert float(tab.figures()["val_loss"]) == pytest.approx(min(x for x in losses if x is not None), rel=1e-3)
    assert best["optimizer"] == "adam"


def test_the_exported_page_answers_from_a_file_without_a_network(tab, tabs, tmp_path):
    tab.page.click("#reset")
    choice = tab.exact()
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="As page").click()
    path = tmp_path / "play.html"
    download.value.save_as(path)
    file = tabs(path.as_uri(), offline=True)
    assert file.choice() == choice
    assert file.figures() == tab.figures()
    file.page.focus("#slider-learning_rate")
    for _ in range(40):  # to a stop that happens not to be trained
        file.page.keyboard.press("ArrowRight")
        file.page.wait_for_timeout(60)  # a change is drawn at the next frame
        if file.page.get_attribute("#source", "data-exact") != "true":
            break
    file.page.get_by_text("Nearest trained setting").wait_for()
    file.page.click("#best")
    file.exact()
    runs = tab.page.evaluate("[...adamkit.app.runs.byKey.values()].map((run) => [run.key, [...run.last]])")
    own = dict(file.page.evaluate("[...adamkit.app.runs.byKey.values()].map((run) => [run.key, [...run.last]])"))
    assert own
    assert own == {key: last for key, last in runs if key in own}
    assert file.said == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in file.requests)


def test_the_inside_and_the_arithmetic_by_hand_are_shown(tab):
    tab.page.click("#reset")
    tab.exact()
    tab.page.click("#inside summary")
    tab.page.locator("#inside-body td", has_text="kernel").first.wait_for(timeout=60_000)
    tab.page.click("#hand summary")
    tab.page.get_by_label("Step t").fill("7")
    tab.page.get_by_text("Step 7 of").wait_for(timeout=60_000)
    assert tab.page.locator("#hand-table td:last-child").all_inner_texts().count("equal") == 3
    assert "different" not in tab.page.inner_text("#hand-table")


def test_the_tour_sets_the_sliders(tab):
    tab.page.click("#tour-start")
    seen = []
    for _ in range(6):
        seen.append((tab.page.inner_text("#tour h2"), str(tab.exact()["values"])))
        if len(seen) < 6:
            tab.page.get_by_role("button", name="Next").click()
    assert len(set(seen)) == 6
    assert tab.choice() == tab.page.evaluate("adamkit.app.subject.defaults.adam")
    tab.page.get_by_role("button", name="End the tour").click()
    assert tab.page.locator("#tour").is_hidden()


def test_a_long_run_says_so_offers_fewer_epochs_and_can_be_stopped(tab, served):
    """No clock: each epoch counts as half a minute, and the second waits until the page has been answered."""
    workers = served.play.workers
    train, clock, passed, goes_on = workers.bench.epochs, workers.clock, [0.0], threading.Event()

    def slow(chosen, n=None):
        for i, row in enumerate(train(chosen, n)):
            passed[0] += 30 * (n == 1)  # not of what nobody has asked for
            yield row
            if n == 1 and i == 0 and chosen[0].epochs > 1:
                goes_on.wait(60)

    def ask(rate):
        goes_on.clear()
        field = tab.page.get_by_label("learning rate, exact value")
        field.fill(str(rate))
        field.press("Enter")
        tab.page.get_by_text("This run takes about 1.5 min more: epoch 1 of 4").wait_for()

    tab.page.click("#reset")
    start = tab.exact()
    workers.bench.epochs, workers.clock = slow, lambda: clock() + passed[0]
    try:
        ask(0.0321)
        tab.page.get_by_role("button", name="A fifth of the epochs").click()
        goes_on.set()
        assert tab.exact() == start | {"epochs": 1, "values": start["values"] | {"learning_rate": 0.0321}}
        tab.page.locator("#long").wait_for(state="hidden")
        tab.page.click("#reset")
        tab.page.get_by_label("Epochs (to 4)").fill("4")
        tab.page.get_by_label("Epochs (to 4)").press("Enter")
        ask(0.0322)
        tab.page.get_by_role("button", name="Stop").click()
        tab.page.get_by_text("Stopped before its end: this setting is not trained.").wait_for()
        goes_on.set()
        begun = served.play.subject.start
        workers.ask("next", begun.with_values({"learning_rate": 0.0323})).result(60)  # its turn comes after that one
        assert begun.with_values({"learning_rate": 0.0322}) not in served.play.archive
    finally:
        goes_on.set()
        del workers.bench.epochs
        workers.clock, workers._last = clock, 0.0
        workers._seconds.clear()
    tab.page.click("#reset")
    assert tab.exact() == start


def test_ticks_of_a_log_scale_lie_on_it_wherever_it_begins(tab):
    scales = [[10.0**low, 10.0**high] for low in np.linspace(-9, 2, 34) for high in np.linspace(low + 1, low + 12, 12)]
    found = tab.page.evaluate(
        """async (scales) => {
            const { decades } = await import("play/curves.js");
            return scales.map(([low, high]) => decades({ low, high }));
        }""",
        scales,
    )
    for (low, high), ticks in zip(scales, found, strict=True):
        assert 1 <= len(ticks) <= 15
        assert all(low <= tick <= high for tick in ticks)


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (360, True)])
def test_the_page_is_accessible_and_fits(tabs, served, width, dark):
    from axe_playwright_python.sync_playwright import Axe

    tab = tabs(served.address, width=width, dark=dark, bypass_csp=True)
    tab.page.click("#pin")
    tab.page.click("#tour-start")
    tab.page.get_by_role("button", name="As code").click()
    tab.page.wait_for_selector("#code pre")
    for part in ("inside", "hand"):
        tab.page.click(f"#{part} summary")
        tab.page.wait_for_selector(f"#{part} table", timeout=60_000)
    tab.exact()
    found = Axe().run(tab.page)
    assert found.violations_count == 0, found.generate_report()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def test_two_tabs_and_a_server_that_goes_and_comes_back(subject, tabs, figures):
    first = Serving(Play(subject))
    first.start()
    try:
        one, other = tabs(first.address), tabs(first.address)
        port = int(first.address.rstrip("/").rpartition(":")[2])
        start = other.choice()
        one.page.focus("#slider-beta_1")
        one.page.keyboard.press("ArrowRight")
        moved = one.exact()
        assert other.choice() == start
        assert moved["values"]["beta_1"] != start["values"]["beta_1"]
    finally:
        first.close()
    one.page.get_by_text("The server does not answer").wait_for()
    one.page.keyboard.press("ArrowRight")
    one.page.get_by_text("Nearest trained setting").wait_for()  # the page still answers with what it knows
    second = Serving(Play(subject), port=port)
    second.start()
    try:
        one.page.get_by_text("The server does not answer").wait_for(state="hidden", timeout=60_000)
        assert assert_shown(one, figures)["values"]["beta_1"] > moved["values"]["beta_1"]
        other.page.close()
        one.exact()
    finally:
        second.close()
