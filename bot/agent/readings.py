"""The records that an answer's calls were read from, as a step notes them and reads them back.

Knows how a record is named (by a number, never by anybody's words: invariant 11); knows no tool and no row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bot.agent.steps import StepResult, listed
from policy.model import Json
from policy.pii import redact
from tools.spec import Record

MOST_READ = 60
"""Records that the note of one step names: a list of orders is as long as the list."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A record, and the tool (as it is spelled on the wire) that read it."""

    tool: str
    record: Record


def noted(read: Iterable[Reading]) -> list[Json]:
    """Of those whose name may stand beside the queue."""
    found: list[Json] = [[one.tool, one.record.kind, one.record.key] for one in read if _notable(one.record)]
    return found[:MOST_READ]


def readings(did: StepResult) -> Iterator[Reading]:
    """What `noted` wrote; a step from before there were any has none."""
    for one in listed(did, "read"):
        match one:
            case [str(tool), str(kind), str(key)]:
                yield Reading(tool, Record(kind, key))
            case _:
                continue


def _notable(record: Record) -> bool:
    plain = re.fullmatch(r"[a-z]{1,20} [A-Za-z0-9][A-Za-z0-9_.-]{0,31}", f"{record.kind} {record.key}")
    return plain is not None and redact(record.key) == record.key
