"""`/countersign …`: who may, what it does, what it says."""

from __future__ import annotations

import pytest

from policy.approval import Verb
from tests.kit.product import Product, dm, person


async def test_a_kill_without_a_scope_changes_nothing_and_shows_what_it_would_stop(product: Product) -> None:
    await product.write("dana", "Refund order 1042, please")
    await product.item("Refund")
    await product.item("Send an e-mail")
    answer = await product.command("ada", "kill")
    assert "Nothing was stopped" in answer
    assert "Waiting for approval: 2." in answer
    assert "Nothing is stopped." in await product.command("ada", "status")


async def test_a_kill_stops_and_says_so_to_whoever_writes(product: Product) -> None:
    answer = await product.command("ada", "kill all wrong amounts")
    assert answer.startswith("Stopped: everything in this organisation.")
    assert "by Ada Kim" in await product.command("dana", "status")
    await product.write("dana", "hello")
    await product.until_said(dm("dana"), "wrong amounts")
    assert "by Ada Kim" in product.chat.said[-1].text
    assert product.model.asked == 0
    assert ("turn.blocked", "stopped", "dana") in await product.audit()
    assert (await product.command("ada", "resume all")).startswith("Resumed")
    await product.write("dana", "hello again")
    await product.until_said(dm("dana"), "You should know: hello again")
    assert [row for row in await product.audit() if row[0].startswith("kill.")] == [
        ("kill.switched", "stopped", "ada"),
        ("kill.resumed", "resumed", "ada"),
    ]


async def test_one_person_is_stopped_and_the_others_go_on(product: Product) -> None:
    assert "Stopped: Dana Reyes" in await product.command("ada", "kill user @dana odd refunds")
    await product.write("dana", "hello")
    assert "odd refunds" in product.chat.said[-1].text
    await product.write("sam", "hello")
    await product.until_said(dm("sam"), "You should know: hello")


@pytest.mark.parametrize("text", ["kill all because", "kill", "resume all", "kill user @ada because"])
async def test_only_admins_stop_and_resume(product: Product, text: str) -> None:
    answer = await product.command("dana", text)
    assert "Only people with the role admin" in answer
    assert ("command.refused", "refused", "dana") in await product.audit()
    assert "Nothing is stopped." in await product.command("dana", "status")


async def test_a_scope_that_names_nothing_changes_nothing(product: Product) -> None:
    assert "There is no tool" in await product.command("ada", "kill tool refund.isue typo")
    assert "Nobody is called" in await product.command("ada", "kill user @nobody typo")
    assert "Nothing is stopped." in await product.command("ada", "status")


async def test_a_stranger_s_command_is_refused_with_a_row(product: Product) -> None:
    assert "directory" in await product.command("nobody", "kill all x")
    assert [kind for kind, _, _ in await product.audit()] == ["identity.refused"]


async def test_whoami_says_what_i_may_ask_for_and_approve(product: Product) -> None:
    dana = await product.command("dana", "whoami")
    assert "**Dana Reyes**" in dana
    assert "refund.issue" in dana
    assert "approve" not in dana
    assert "You may approve, for others: refund.issue." in await product.command("ann", "whoami")


async def test_pending_shows_what_waits_for_me_and_what_i_asked(product: Product) -> None:
    await product.write("dana", "Refund order 1042, please")
    refund = await product.item("Refund")
    await product.item("Send an e-mail")
    headline = "Refund 42.00 USD for order 1042 to Ada Lindqvist"
    assert f"{headline}. Dana Reyes asks" in await product.command("ann", "pending")
    assert "Waiting for a finance approver" in await product.command("dana", "pending")
    home = await product.turn.home(person("ann"))
    assert [line.headline for line in home.waiting_for_me] == [headline]
    assert home.asked_by_me == ()
    await product.press("ann", refund, Verb.REJECT, "no")
    assert "Nothing." in await product.command("ann", "pending")


async def test_help_and_nonsense_both_help(product: Product) -> None:
    assert "/countersign whoami" in await product.command("dana", "help")
    answer = await product.command("dana", "frobnicate")
    assert "I do not know the command “frobnicate”." in answer
    assert "/countersign whoami" in answer
