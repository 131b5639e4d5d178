"""Invariant 1: no tool code runs except from the gateway, and only after its checks."""

from __future__ import annotations

import inspect
from dataclasses import replace
from decimal import Decimal

from policy.approval import PressResult, Verb
from policy.model import ToolName
from tests.kit.door import DEMO, House
from tools.gateway import Gateway
from tools.held import Blocked, Executed, Held, Scope, ScopeKind
from tools.spec import Args, CallContext, Reservation, Resolved, ToolResult
from tools.stops import By


class Spy:
    """Notes who ran it."""

    def __init__(self, name: str) -> None:
        self.name, self.ran = name, 0

    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        money = Reservation("order:1042", Decimal("1.00"), "USD", Decimal("1000.00"), ctx.now)
        return Resolved(dict(args), f"Do {self.name}", reservation=money if self.name == "refund.issue" else None)

    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        self.ran += 1
        return ToolResult("done", "Done.")

    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        return None


def spied(house: House) -> dict[str, Spy]:
    spies = {str(name): Spy(name) for name in house.tools}
    for name, tool in list(house.tools.items()):
        house.tools[name] = replace(tool, action=spies[name])
    return spies


ARGS: dict[str, dict[str, str]] = {
    "crm.read": {"kind": "order", "key": "1042"},
    "crm.write": {"customer_id": "C-1007", "field": "phone", "value": "+1 206 555 0199"},
    "ledger.read": {},
    "db.query": {"sql": "SELECT 1"},
    "email.send": {"to": "C-1007", "subject": "s", "body": "b"},
    "refund.issue": {"order_id": "1042", "amount": "1.00", "currency": "USD", "reason": "r"},
}


async def test_nothing_the_gateway_answers_runs_a_held_tool_before_its_press(local_house: House) -> None:
    """Every public method is called around a held call; the tool runs in `execute` alone, and once."""
    house, by = local_house, By("ada", "Ada Kim", ("admin",))
    spies = spied(house)
    view = await house.ask_refund("1.00")
    dana, gateway = house.who("dana"), house.gateway
    await house.press("ann", view, Verb.ASK, "why?", press_id="q")
    token = house.token_for(view)
    called: dict[str, object] = {
        "propose": await gateway.propose(
            replace(house.turn("dana"), turn_id=view.turn_id),
            [house.proposal("dana", "refund.issue", ARGS["refund.issue"])],
        ),
        "ask_again": await house.again(view),
        "again_id": gateway.again_id(view.held_id, "t"),
        "countersign": await gateway.countersign(DEMO, None, house.request(view)),
        "execute": await gateway.execute(DEMO, view.held_id, 1, token),
        "view": await gateway.view(DEMO, view.held_id),
        "card": await gateway.card(DEMO, view.card_id),
        "open_to": await gateway.open_to(house.who("ann"), view.held_id),
        "waiting_for": await gateway.waiting_for(house.who("ann")),
        "asked_by": await gateway.asked_by(DEMO, dana.subject),
        "in_doubt": await gateway.in_doubt(DEMO),
        "question": await gateway.question(DEMO, "h", "q"),
        "record": None,
        "kill": await gateway.kill(DEMO, Scope(ScopeKind.TENANT), by, "look"),
        "kills": await gateway.kills(DEMO),
        "resume": await gateway.resume(DEMO, Scope(ScopeKind.TENANT), by),
        "remind_due": await gateway.remind_due(),
        "expire_due": await gateway.expire_due(),
    }
    await gateway.record([])
    sam = house.who("sam").subject
    left = house.door.writer.run_blocking(lambda conn: gateway.reconsider(conn, DEMO, [sam], "look", force=True))
    called["reconsider"] = left
    try:
        await gateway.settle_doubt(DEMO, view.held_id, "Ada Kim", True, "")
    except LookupError:
        called["settle_doubt"] = None
    public = {name for name, _ in inspect.getmembers(Gateway, callable) if not name.startswith("_")}
    assert public <= set(called), f"try these too: {public - set(called)}"
    assert {name: spy.ran for name, spy in spies.items() if spy.ran} == {}
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    assert spies["refund.issue"].ran == 0
    await house.settle()
    assert spies["refund.issue"].ran == 1


async def test_who_may_not_ask_runs_nothing(local_house: House) -> None:
    """Every person with every tool: what the roles do not give does not run, what they give at once runs once."""
    house = local_house
    spies = spied(house)
    allowed = {
        "dana": {"crm.read", "db.query", "email.send", "refund.issue"},
        "sam": {"crm.read", "crm.write", "email.send"},
        "ann": {"crm.read"},
        "ada": set[str](),
        "aud": set[str](),
        "rita": {"crm.read", "db.query", "ledger.read"},
    }
    gated = {"email.send", "refund.issue"}
    for sub, tools in allowed.items():
        for name, arguments in ARGS.items():
            before = spies[name].ran
            outcome = await house.ask(sub, name, **arguments)
            if name not in tools:
                assert isinstance(outcome, Blocked), (sub, name)
            elif name in gated:
                assert isinstance(outcome, Held), (sub, name, outcome)
            else:
                assert isinstance(outcome, Executed), (sub, name, outcome)
            assert spies[name].ran - before == (1 if isinstance(outcome, Executed) else 0)


async def test_unknown_tools_and_wire_names_run_nothing(local_house: House) -> None:
    house = local_house
    spies = spied(house)
    for name in ("refund_issue", "REFUND.ISSUE", "refund.issue ", "", "os.system", "tools.actions.refund_issue"):
        call = replace(house.proposal("dana", "refund.issue", ARGS["refund.issue"]), tool=ToolName(name))
        (outcome,) = await house.gateway.propose(house.turn("dana"), [call])
        assert isinstance(outcome, Blocked)
    assert sum(spy.ran for spy in spies.values()) == 0
