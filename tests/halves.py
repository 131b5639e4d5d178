"""`make test`: everything, in two halves side by side, because most of it waits for processes and disks.

What starts whole services is one half, the rest the other. The first is shown as it goes, the second below it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
SERVED = ("contract", "e2e")


def halves() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The folders of each half. Every folder with tests is in one, a new one too."""
    every = sorted({path.relative_to(HERE).parts[0] for path in HERE.glob("*/**/test_*.py")} - {"bench", "rigs"})
    served = tuple(name for name in every if name in SERVED)
    return served, tuple(name for name in every if name not in SERVED)


def main() -> int:
    """1 if something failed in either half."""
    served, rest = (tuple(f"tests/{name}" for name in names) for names in halves())
    pytest = (sys.executable, "-m", "pytest")
    with tempfile.TemporaryFile() as heard:
        # A cache of its own: two that write one file at the end would lose what the other one noted.
        beside = subprocess.Popen([*pytest, "-o", "cache_dir=.pytest_cache/beside", *rest], cwd=ROOT, stdout=heard)
        try:
            first = subprocess.run([*pytest, *served], cwd=ROOT, check=False).returncode
            second = beside.wait()
        finally:
            if beside.poll() is None:
                beside.terminate()
                beside.wait()
        heard.seek(0)
        shutil.copyfileobj(heard, sys.stdout.buffer)
        sys.stdout.flush()
    for failed, folders in ((first, served), (second, rest)):
        if failed:
            print(f"Failed above, in {' '.join(folders)}: see the lines that begin with FAILED or ERROR.")
    return 1 if first or second else 0


if __name__ == "__main__":
    sys.exit(main())
