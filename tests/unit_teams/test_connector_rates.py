"""Teams' limits in one conversation, kept by ourselves."""

from __future__ import annotations

import pytest

from bot.teams.rates import READING, SAYING, Rates
from tests.kit.teams_out import Time

ONE, TWO = ("tenant", "one"), ("tenant", "two")


def spend(rates: Rates, time: Time, calls: int) -> list[float]:
    """When each of `calls` went out, as soon as it might."""
    began, out = time.now, []
    for _ in range(calls):
        while (wait := rates.take(ONE)) > 0:
            time.now += wait
        out.append(time.now - began)
    return out


@pytest.mark.parametrize("windows", [SAYING, READING])
def test_no_window_holds_more_than_teams_allows(windows: tuple[tuple[float, int], ...]) -> None:
    time = Time()
    out = spend(Rates(windows, time), time, 2 * windows[-1][1])
    for seconds, most in windows:
        for first, last in zip(out, out[most:], strict=False):
            assert last - first >= seconds - 1e-6


def test_the_figures_are_reached_and_not_undercut() -> None:
    time = Time()
    out = spend(Rates(SAYING, time), time, 61)
    assert out[:7] == [0.0] * 7
    assert out[7] == pytest.approx(1.0)
    assert out[8] == pytest.approx(2.0)
    assert out[60] == pytest.approx(30.0)


def test_a_refused_call_is_not_counted() -> None:
    time = Time()
    rates = Rates(SAYING, time)
    for _ in range(100):
        rates.take(ONE)
    time.now += 1.0
    assert rates.take(ONE) == 0.0


def test_conversations_do_not_wait_for_each_other() -> None:
    rates = Rates(SAYING, Time())
    while rates.take(ONE) == 0.0:
        pass
    assert rates.take(TWO) == 0.0


def test_what_rests_is_forgotten() -> None:
    time = Time()
    rates = Rates(SAYING, time)
    for number in range(25_000):
        time.now += 0.001
        rates.take(("tenant", str(number)))
    assert len(rates._taken) <= 10_001
