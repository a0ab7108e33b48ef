"""A server at work: on a port of this machine, until it is told to end."""

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from adamkit.lab.errors import InputError
from adamkit.play.server import Play

LOCAL = "127.0.0.1"


class Serving:
    """A page that is served.

    Args:
        play: What is served.
        host: The address that it listens at. Any but 127.0.0.1 can be reached from elsewhere, and needs a token.
        port: Its port; 0 for a free one.
        framed: Whether a notebook on this machine may show the page.

    Attributes:
        address: Of the page, with its token, if there is one.

    Raises:
        InputError: The address or the port cannot be had.
    """

    def __init__(self, play: Play, *, host: str = LOCAL, port: int = 0, framed: bool = False):
        self.play = play
        self._socket = _bound(host, port)
        port = self._socket.getsockname()[1]
        token = None if host == LOCAL else secrets.token_urlsafe(24)
        name = LOCAL if host in ("0.0.0.0", "::") else host
        self.address = f"http://{name}:{port}/" + ("" if token is None else f"?token={token}")
        hosts = ("*",) if host in ("0.0.0.0", "::") else (host,)
        app = play.app(port=port, hosts=hosts, token=token, framed=framed)
        config = uvicorn.Config(
            app,
            log_config=None,  # its own would end all other handlers of logging, and absl's closes the error stream then
            log_level="critical",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            ws="none",
        )
        self._server = _Server(config, play.close)
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until Ctrl-C."""
        self.play.start()
        try:
            with contextlib.suppress(KeyboardInterrupt):
                self._server.run(sockets=[self._socket])
        finally:
            self._end()

    def start(self) -> None:
        """Serve in a thread of its own; returns once the page can be asked for."""
        self.play.start()
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)

    def close(self) -> None:
        """End what `start` began."""
        self._server.should_exit = True
        self.play.close()
        if self._thread is not None:
            self._thread.join()
        self._end()

    def _end(self) -> None:
        self.play.close()
        self.play.workers.join()
        self._socket.close()


class _Server(uvicorn.Server):
    """Streams end when it is to end, rather than keep it."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]):
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._on_exit()
        super().handle_exit(sig, frame)


def _bound(host: str, port: int) -> socket.socket:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65_536:
        raise InputError(f"port must be a whole number from 0 to 65535. Received: port={port!r}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(found[0], socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(found[4])
        bound.listen(128)
    except OSError as error:
        raise InputError(f"host and port must be free here. Received: {host}:{port}, {error.strerror}") from None
    return bound
