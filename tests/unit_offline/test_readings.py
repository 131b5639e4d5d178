"""Sentences and what the offline stand-in reads in them: a table that people can read and extend (readings.txt)."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import pytest

from bot.agent.offline_intents import Intent, Mail, Refund, Talk, Topic, Whom
from bot.agent.offline_reading import follow, parts, read
from bot.agent.offline_words import Amount, amount, name, number_word, share

TODAY = date(2026, 11, 23)
TABLE = Path(__file__).with_name("readings.txt")


def lines() -> list[tuple[str, str]]:
    """Sentence, then `=> reading` on the line below it."""
    written = TABLE.read_text("utf-8").splitlines()
    return [(said, below.removeprefix("=> ")) for said, below in zip(written[::2], written[1::2], strict=True)]


def spelled(intent: Intent) -> str:
    """An intent on one line; what is not set is left out."""
    found = []
    for field in dataclasses.fields(intent):
        value = getattr(intent, field.name)
        if isinstance(value, Whom):
            named = [(one.name, getattr(value, one.name)) for one in dataclasses.fields(value) if one.name != "hint"]
            value = ", ".join(f"{key} {said}" for key, said in named if said is not None)
        if isinstance(value, Amount):
            value = f"{value.text} {value.currency or ''}".strip()
        if value not in (None, "", False):
            found.append(f"{field.name}: {value}")
    return f"{type(intent).__name__}({'; '.join(found)})"


@pytest.mark.parametrize(("said", "meant"), lines(), ids=[said for said, _ in lines()])
def test_reads(said: str, meant: str) -> None:
    assert (" | ".join(spelled(one) for one in read(said, TODAY)) or "nothing") == meant


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(lines()) >= 120
    assert len({said for said, _ in lines()}) == len(lines())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("US$42", Amount("42.00", "USD")),
        ("1,200.50 dollars", Amount("1200.50", "USD")),
        ("1.200,50 €", Amount("1200.50", "EUR")),
        ("CHF 12", Amount("12.00", "CHF")),
        ("five hundred and twenty dollars", Amount("520.00", "USD")),
        ("minus 5 euros", Amount("-5.00", "EUR")),
        ("42.999 dollars", None),
        ("16 digits 4111111111111111", None),
    ],
)
def test_amounts(text: str, meant: Amount | None) -> None:
    assert amount(text) == meant


def test_numbers_shares_and_names() -> None:
    assert number_word("two thousand one hundred and five") == 2105
    assert share("half of it") == 50
    assert share("in full") == 100
    assert name("Refund Patrick O'Brien's order") == "Patrick O'Brien"
    assert name("on Thursday in March") is None
    assert name("REFUND THE PARCEL") is None


def test_quotation_marks_hold_a_sentence_together() -> None:
    said = 'Mail Ada Lindqvist "We are late. Send us a photo and tell us more."'
    assert parts(said) == [said.rstrip(".")] or parts(said) == [said]


def test_an_answer_completes_what_was_asked() -> None:
    asked = read("Refund order 1042", TODAY)
    (refund,) = follow(asked, "42", "How much shall I refund?", TODAY)
    assert isinstance(refund, Refund)
    assert refund.amount == Amount("42.00", None)
    (refund,) = follow(asked, "all of it please", "How much shall I refund?", TODAY)
    assert isinstance(refund, Refund)
    assert refund.share == 100


def test_which_one_is_answered_by_place_number_or_name() -> None:
    asked = read("Refund Lindqvist 20 dollars", TODAY)
    question = "Which one do you mean?"
    (second,) = follow(asked, "the second", question, TODAY)
    (numbered,) = follow(asked, "1047", question, TODAY)
    (named,) = follow(asked, "Erik", question, TODAY)
    assert isinstance(second, Refund)
    assert isinstance(numbered, Refund)
    assert isinstance(named, Refund)
    assert second.whom.nth == 2
    assert numbered.whom.order == "1047"
    assert named.whom.name == "Erik Lindqvist"
    assert {second.amount, numbered.amount, named.amount} == {Amount("20.00", "USD")}


def test_a_new_request_takes_the_place_of_the_question() -> None:
    asked = read("Refund order 1042", TODAY)
    question, other = "How much shall I refund?", "Who is customer C-1007?"
    assert follow(asked, other, question, TODAY) == read(other)
    assert follow(asked, "never mind", question, TODAY) == (Talk(Topic.NEVER_MIND),)


def test_what_to_write_is_taken_as_it_is_said() -> None:
    asked = read("Mail Ada Lindqvist", TODAY)
    (mail,) = follow(asked, "that her parcel is late", "What shall I write to Ada Lindqvist?", TODAY)
    assert isinstance(mail, Mail)
    assert mail.about == "her parcel is late"
    assert mail.whom.name == "Ada Lindqvist"
