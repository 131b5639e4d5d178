"""Activities as Teams sends them, for tests. Shapes from Microsoft's documentation and from the Agents Playground."""

from __future__ import annotations

from typing import Any

TENANT = "11111111-1111-4111-8111-111111111111"
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"
BOT = "28:00000000-0000-4000-8000-0000000000b0"
RITA, RITA_ID = "29:rita", "aaaaaaaa-0000-4000-8000-000000000001"
ARNO, ARNO_ID = "29:arno", "aaaaaaaa-0000-4000-8000-000000000002"
PERSONAL = "a:1pL6i0oY3C0"
GROUP = "19:group@thread.v2"
CHANNEL = "19:channel@thread.tacv2"
TEAM = "19:team@thread.tacv2"
SERVICE_URL = "https://smba.trafficmanager.net/emea/"

Body = dict[str, Any]


def activity(
    kind: str,
    conversation: Body,
    *,
    id: str = "1700000000001",  # noqa: A002 - the wire's word
    tenant: str = TENANT,
    account: str = RITA,
    person: str | None = RITA_ID,
    **more: Any,
) -> Body:
    sender = {"id": account, "name": account.removeprefix("29:").title()}
    data = {"tenant": {"id": tenant}, **more.pop("channelData", {})}
    return {
        "type": kind,
        "id": id,
        "timestamp": "2026-01-05T09:00:00.0000000Z",
        "channelId": "msteams",
        "serviceUrl": SERVICE_URL,
        "from": {**sender, **({"aadObjectId": person} if person else {})},
        "recipient": {"id": BOT, "name": "Countersign"},
        "conversation": {"tenantId": tenant, **conversation},
        "channelData": data,
        **more,
    }


def personal(text: str = "", **more: Any) -> Body:
    return _said("personal", {"conversationType": "personal", "id": more.pop("conversation", PERSONAL)}, text, more)


def group(text: str = "", *, mention: bool = True, **more: Any) -> Body:
    where = {"conversationType": "groupChat", "isGroup": True, "id": more.pop("conversation", GROUP)}
    return _said("group", where, text, {**_mentioning(text, mention, more)})


def channel(text: str = "", *, mention: bool = True, root: str = "1700000000000", **more: Any) -> Body:
    base = more.pop("conversation", CHANNEL)
    where = {"conversationType": "channel", "isGroup": True, "id": f"{base};messageid={root}"}
    data = {
        "teamsChannelId": base,
        "teamsTeamId": TEAM,
        "channel": {"id": base, **more.pop("channel", {})},
        "team": {"id": TEAM, "name": "Finance"},
    }
    return _said("channel", where, text, {**_mentioning(text, mention, more), "channelData": data})


def _mentioning(text: str, mention: bool, more: Body) -> Body:
    if not mention:
        return more
    told = [{"type": "mention", "mentioned": {"id": BOT, "name": "Countersign"}, "text": "<at>Countersign</at>"}]
    return {"text": f"<at>Countersign</at>&nbsp;{text}\n", "entities": [*told, *more.pop("entities", [])], **more}


def _said(kind: str, where: Body, text: str, more: Body) -> Body:
    del kind
    return activity(more.pop("type", "message"), where, **{"text": text, "textFormat": "plain", **more})


def mention(account: str, name: str, **more: Any) -> Body:
    return {"type": "mention", "mentioned": {"id": account, "name": name, **more}, "text": f"<at>{name}</at>"}


def execute(data: Body, *, verb: str = "approve", trigger: str = "manual") -> Body:
    """The value of an invoke ``adaptiveCard/action``."""
    return {"action": {"type": "Action.Execute", "id": "", "verb": verb, "data": data}, "trigger": trigger}


def invoke(value: Body, *, name: str = "adaptiveCard/action", where: Body | None = None, **more: Any) -> Body:
    """`where`: an activity in whose conversation it happens; a personal chat."""
    base = where or personal()
    return {
        **base,
        "type": "invoke",
        "name": name,
        "id": more.pop("id", "f:invoke-1"),
        "replyToId": more.pop("card", "1700000000009"),
        "value": value,
        **more,
    }
