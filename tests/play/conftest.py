"""One server for the tests of the page, and tabs that look at it."""

import http.client
import json
from dataclasses import replace

import pytest

from adamkit.lab import runs
from adamkit.play import neighbourhood
from adamkit.play import subject as subjects
from adamkit.play.server import Play
from adamkit.play.serving import Serving

SETTINGS = runs.Settings(epochs=4, validation_split=0.2)


@pytest.fixture(scope="package")
def subject():
    return subjects.of_settings(SETTINGS)


@pytest.fixture(scope="package", autouse=True)
def few_unasked():
    """In idle time a tenth of the usual settings: each move of a slider in these tests begins another neighbourhood."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbourhood, "_NEAR", 16)
        patch.setattr(neighbourhood, "_FAR", 16)
        patch.setattr(neighbourhood, "LEVELS", (5, 5, 5))
        yield


@pytest.fixture(scope="package")
def served(subject):
    serving = Serving(Play(subject))
    serving.start()
    yield serving
    serving.close()


@pytest.fixture(scope="package")
def figures():
    """What `lab.train` gives at its last epoch with a choice's setting: figures(choice as JSON) -> by column."""

    def trained(choice):
        settings = replace(SETTINGS, epochs=choice["epochs"], moment_dtype=choice["moment_dtype"], **choice["values"])
        return runs.training.trained(runs.training.prepare(settings), settings.epochs).history.iloc[-1]

    return trained


class Client:
    """A program that speaks to a server."""

    def __init__(self, serving):
        self.host = serving.address.removeprefix("http://").partition("/")[0]

    def ask(self, method, path, body=None, **headers):
        """(status, JSON or text)."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            headers.setdefault("content-type", "application/json")
            body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text) if is_json else text

    def train(self, tab="t", **choice):
        return self.ask("POST", "/api/train", {"tab": tab, "choice": choice})


@pytest.fixture
def client(served):
    return Client(served)


class Tab:
    """The page in a browser: what it said on the console, and what it asked other places for."""

    def __init__(self, page):
        self.page, self.said, self.requests = page, [], []
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, address):
        self.page.goto(address)
        self.exact()
        return self

    def exact(self):
        """Wait until what is under the sliders is trained; its choice."""
        self.page.wait_for_timeout(60)  # a change is drawn at the next frame
        self.page.wait_for_selector("#source[data-exact=true]", timeout=120_000)
        return self.choice()

    def choice(self):
        return self.page.evaluate("adamkit.app.choice")

    def figures(self):
        """As the page shows them: text by column."""
        return dict(zip(*(self.page.locator(f"#figures {tag}").all_inner_texts() for tag in ("dt", "dd")), strict=True))


@pytest.fixture
def tabs(browser):
    """Opens tabs: `tabs(address, width=1200, dark=False)`."""
    contexts = []

    def open_tab(address, *, width=1200, dark=False, **options):
        look = "dark" if dark else "light"
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=look, **options))
        return Tab(contexts[-1].new_page()).open(address)

    yield open_tab
    for context in contexts:
        context.close()
