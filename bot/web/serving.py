"""Serves the demo page on the loopback interface alone. Knows sockets and uvicorn; knows no page."""

from __future__ import annotations

import errno
import socket

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


class DemoServer(uvicorn.Server):
    """Ends the live pages first when it is told to stop; without that it would wait for every open browser."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        super().__init__(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="on"))
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets=sockets)
