"""`make bench`: every bench of this folder, each in a process of its own so that none warms or crowds another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main(wanted: list[str]) -> int:
    """Runs the benches whose names contain one of `wanted`, or all. 1 if one of them broke."""
    broken: list[str] = []
    for path in sorted(HERE.glob("bench_*.py")):
        if wanted and not any(word in path.stem for word in wanted):
            continue
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        sys.stdout.write(f"\n== {path.stem.removeprefix('bench_')}\n")
        sys.stdout.flush()
        if subprocess.run([sys.executable, "-m", module], cwd=ROOT, check=False).returncode:
            broken.append(path.stem)
    for name in broken:
        sys.stdout.write(f"{name} broke.\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
