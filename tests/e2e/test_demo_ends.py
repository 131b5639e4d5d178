"""The demo as a process: it ends in order when it is told to, and the log says so."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order_with_its_last_row_and_checkpoint(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "bot", "demo", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if re.search(r"http://127\.0\.0\.1:\d+/\?token=", line):
                    break
            process.send_signal(how)
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, said + rest
    assert "Traceback" not in rest
    with sqlite3.connect(tmp_path / ".demo" / "countersign.sqlite") as conn:
        rows = conn.execute("SELECT kind FROM agent_audit_log WHERE tenant_id='_system' ORDER BY seq").fetchall()
    conn.close()
    assert rows == [("service.started",), ("service.stopped",)]
    assert '"seq":2' in (tmp_path / ".demo" / "checkpoints.jsonl").read_text().replace(" ", "")
