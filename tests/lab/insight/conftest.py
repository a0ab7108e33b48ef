"""Pages of reports, opened in headless Chromium (`tests/conftest.py`)."""

import pytest


class Tab:
    """An opened page: what it said on the console, and what it asked the network for."""

    def __init__(self, page, path):
        self.page, self.said, self.requests = page, [], []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.route("**/*", self._refuse)
        page.goto(path.as_uri())
        page.wait_for_function("document.documentElement.dataset.drawn === 'all'", timeout=60_000)

    def _refuse(self, route):
        if route.request.url.startswith("file:") and route.request.resource_type == "document":
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()


@pytest.fixture
def opened(browser):
    """Opens a page's file: `opened(path, width=1200, dark=False)`."""
    contexts = []

    def open_page(path, *, width=1200, dark=False):
        contexts.append(
            browser.new_context(viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light")
        )
        return Tab(contexts[-1].new_page(), path)

    yield open_page
    for context in contexts:
        context.close()
