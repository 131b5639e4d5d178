"""Serves the demo page on the loopback interface alone. Knows sockets and uvicorn; knows no page."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from bot.web.live import Hub

LOOPBACK = "127.0.0.1"


class PortTaken(Exception):
    """Another program has the port. `str(e)` is one line with the mend."""


def bind_loopback(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; `port` 0 picks a free one.

    Raises:
        PortTaken: somebody else listens there, or may not.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # So that a restart does not wait for the last run's connections. It lets no second listener in on Linux.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((LOOPBACK, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortTaken(
                f"Port {port} is taken by another program, so the demo did not start. Choose another one: "
                f"--port {port + 1}, or make demo PORT={port + 1}"
            ) from error
        raise
    sock.setblocking(False)
    return sock


def hosts_of(sock: socket.socket) -> tuple[str, str]:
    """The Host headers under which `sock` may be addressed."""
    port = sock.getsockname()[1]
    return f"{LOOPBACK}:{port}", f"localhost:{port}"


class OrderlyServer(uvicorn.Server):
    """Stops when it is told to, and lets the rest stop too: uvicorn itself would raise the signal anew on its way out,
    and the process would be gone before what runs has ended and the last checkpoint is written."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class DemoServer(OrderlyServer):
    """Ends the live pages first when it is told to stop; without that it would wait for every open browser."""

    def __init__(self, app: ASGIApp, hub: Hub, ready: Callable[[], None] | None = None) -> None:
        """`ready` is called once it answers and a signal would end it in order."""
        self._ready = ready
        super().__init__(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="on"))
        self._hub = hub

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self._ready is not None and self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets=sockets)
