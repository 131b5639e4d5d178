"""Canonical bytes are RFC 8785's, and whatever a model invents can be made to fit."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import (
    MAX_DEPTH,
    SAFE_INTEGER,
    NotCanonical,
    canonical_bytes,
    canonical_text,
    clean_text,
    from_iso,
    iso,
    restrict,
    restricted_text,
)

EARLY = datetime(2, 1, 1)  # noqa: DTZ001  hypothesis adds the zone
ASCII = st.text(st.characters(max_codepoint=127), max_size=12)
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SCALARS = st.none() | st.booleans() | st.integers(-SAFE_INTEGER, SAFE_INTEGER) | UNICODE
RESTRICTED = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=5) | st.dictionaries(ASCII, v, max_size=5), max_leaves=25
)
ANY_TEXT = st.text(st.characters(), max_size=30) | st.from_regex(r"[\x00\ud800-\udfff]{0,3}", fullmatch=True)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda v: st.lists(v, max_size=5) | st.dictionaries(ANY_TEXT, v, max_size=5),
    max_leaves=25,
)


@given(RESTRICTED)
def test_bytes_equal_rfc8785(value: Any) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


@given(ANYTHING)
def test_whatever_a_model_invents_can_be_audited(value: Any) -> None:
    fitted = restrict(value)
    assert canonical_bytes(fitted) == rfc8785.dumps(fitted)
    assert "\x00" not in json.dumps(fitted, ensure_ascii=False)
    assert restricted_text(value) == canonical_text(fitted)


@given(RESTRICTED)
def test_what_fits_already_is_left_alone_but_for_nul(value: Any) -> None:
    if "\\u0000" not in canonical_text(value):
        assert restrict(value) == value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (1.5, "value is a float"),
        ({"a": [0, 2.0]}, r"value\.a\[1\] is a float"),
        ({"a": 2**53}, r"value\.a is an integer beyond 53 bits"),
        ({"ä": 1}, "not ASCII"),
        ({1: 1}, "a key that is a int"),
        ("\ud800", "lone surrogate"),
        ({"a": b"x"}, r"value\.a is a bytes"),
        ({"a": object()}, r"value\.a is a object"),
        (datetime(2026, 1, 1, tzinfo=UTC), "is a datetime"),
    ],
)
def test_what_does_not_fit_is_a_domain_error_that_names_the_place(value: Any, place: str) -> None:
    with pytest.raises(NotCanonical, match=place):
        canonical_text(value)


def test_depth_is_bounded_instead_of_exhausting_the_stack() -> None:
    deep: Any = "core"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotCanonical, match="deeper"):
        canonical_text(deep)
    assert restricted_text(deep).count("[") == MAX_DEPTH


@pytest.mark.parametrize("value", [b"x", object(), {1: 2}])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonical):
        restrict(value)


def test_floats_and_large_integers_become_text() -> None:
    assert restrict({"a": 42.5, "b": 2**60, "c": float("inf")}) == {"a": "42.5", "b": hex(2**60), "c": "inf"}
    assert restrict({"größe": 1}) == {r"gr\xf6\xdfe": 1}


def test_clean_text_keeps_emoji_and_replaces_what_no_database_takes() -> None:
    assert clean_text("a\x00b") == "a\ufffdb"
    assert clean_text("x\ud800y") == "x\ufffdy"
    assert clean_text("😀 ä") == "😀 ä"


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]), min_value=EARLY))
def test_times_have_one_width_and_come_back(moment: datetime) -> None:
    assert len(iso(moment)) == 27
    assert from_iso(iso(moment)) == moment


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        iso(datetime(2026, 1, 1))  # noqa: DTZ001
