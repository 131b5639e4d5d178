"""`countersign serve` is told to stop by its init system: what ran ends, the log is closed with a signed checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kit.service_process import Home, serving
from tests.rigs.local_slack import LocalSlack


async def test_sigterm_ends_it_in_order_with_the_last_checkpoint(home: Home, tmp_path: Path) -> None:
    async with LocalSlack.start("socket", tmp_path) as slack, serving(home, slack.api_url) as service:
        assert await service.stop() == 0
    (stopped,) = home.rows("SELECT seq, tenant_id FROM agent_audit_log WHERE kind='service.stopped'")
    written = [json.loads(line) for line in (home.data / "checkpoints.jsonl").read_text().splitlines()]
    assert any(stopped["seq"] in (line.get("seq"), line.get("checkpoint", {}).get("seq")) for line in written)
    verified = await home.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "Traceback" not in service.said()
