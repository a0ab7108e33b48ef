"""The page in headless Chromium: what it shows is what `lab.train` gives, by mouse, by keyboard, and after mishaps."""

import re

import numpy as np
import pytest

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
        after = assert_shown(tab, figures) if i % 3 == 0 else tab.exact()
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
