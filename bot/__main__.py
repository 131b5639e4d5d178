"""``python -m bot`` and the command `countersign`. Knows where to begin, nothing else."""

from __future__ import annotations

from bot.cli import app


def main() -> None:
    app(prog_name="countersign")


if __name__ == "__main__":
    main()
