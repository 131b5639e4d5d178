"""Markdown of the bot as HTML that can do nothing: no raw HTML, no images, links only to the web and to threads."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from markdown_it import MarkdownIt
from markupsafe import Markup

_SCHEMES = frozenset({"http", "https", "mailto"})
_THREAD = "/open?"
"""Begins a link to a thread of the workspace; who opens it is added when it is drawn."""


def _harmless(url: str) -> bool:
    try:
        return url.startswith(_THREAD) or urlsplit(url).scheme.lower() in _SCHEMES
    except ValueError:
        return False


class _Renderer(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802  (the library's name)
        return _harmless(url)


_MARKDOWN = _Renderer("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")


def rendered(text: str, viewer: str = "") -> Markup:
    """`text` as HTML, for the member `viewer`. Whatever is not Markdown comes out as the characters that were typed."""
    env: dict[str, object] = {}
    tokens = _MARKDOWN.parse(text, env)
    for token in tokens:
        for child in token.children or ():
            if child.type == "link_open" and str(child.attrGet("href")).startswith(_THREAD):
                child.attrSet("href", f"{child.attrGet('href')}&{urlencode({'as': viewer})}")
            elif child.type == "link_open":
                child.attrSet("rel", "noopener noreferrer nofollow")
                child.attrSet("target", "_blank")
    # Safe by construction: html is off, so the renderer escapes every character that came from `text`.
    return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, env))  # noqa: S704
