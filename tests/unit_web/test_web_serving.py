"""The demo listens on this machine alone and ends when it is told to."""

from __future__ import annotations

import pytest

from bot.web.serving import PortTaken, bind_loopback, hosts_of


def test_it_binds_the_loopback_interface_alone() -> None:
    with bind_loopback(0) as sock:
        address, port = sock.getsockname()
        assert address == "127.0.0.1"
        assert hosts_of(sock) == (f"127.0.0.1:{port}", f"localhost:{port}")


def test_a_taken_port_is_one_line_with_the_mend() -> None:
    with bind_loopback(0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            bind_loopback(port)
    assert "\n" not in str(caught.value)
    assert f"PORT={port + 1}" in str(caught.value)
