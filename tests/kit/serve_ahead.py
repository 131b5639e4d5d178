"""`countersign serve` whose clock a test can put forward: `python -m tests.kit.serve_ahead FILE`.

FILE holds seconds; the service's clock is the machine's plus that. Everything else is as `countersign serve` has it.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot import core
from bot.__main__ import main


def run(ahead: Path) -> None:
    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(ahead.read_text() or 0))

    core.utc_now = now
    sys.argv = ["countersign", "serve"]
    main()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
