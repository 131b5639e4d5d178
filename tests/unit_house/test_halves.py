"""`make test` leaves no folder of tests out."""

from __future__ import annotations

from tests.halves import HERE, halves


def test_every_folder_with_tests_is_in_one_half() -> None:
    served, rest = halves()
    there = {one.name for one in HERE.iterdir() if any(one.glob("**/test_*.py"))} - {"rigs", "bench"}
    assert sorted([*served, *rest]) == sorted(there)
    assert {"contract", "e2e"} == set(served)
    assert not list(HERE.glob("test_*.py")), "a test beside the folders would be run by neither"
