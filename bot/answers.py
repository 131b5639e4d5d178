"""What marks a text as a model's, and the records it rests on. Knows no tool, no chat and how nothing is drawn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """A record that a tool read for an answer, so that a reader can tell where it comes from."""

    title: str
    """"Order 1042"."""
    detail: str
    """One plain sentence: which tool read it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Marks a text as a model's: chats that label such texts, cite sources and take a thumb do so for these alone."""

    sources: tuple[Source, ...] = ()

    @property
    def cited(self) -> str:
        """One plain line: "Read by crm.read: Order 1042, Customer C-1007."; empty where nothing was read."""
        by: dict[str, list[str]] = {}
        for source in self.sources:
            by.setdefault(source.detail.rstrip("."), []).append(source.title)
        return " ".join(f"{detail}: {', '.join(titles)}." for detail, titles in by.items())
