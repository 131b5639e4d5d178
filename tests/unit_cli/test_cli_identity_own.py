"""`countersign identity` where an account in Teams is its person without a link: shown, and ended like any other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kit.provision import Hire, idp
from tests.kit.two_chats import ACME, ENTRA, ISSUER, oid, tenants_text

Countersign = Callable[..., Any]
OWN = f"teams:{ENTRA[ACME]}:{oid('ann')}"
SHOW = ("identity", "show", "Ann Okafor", "--tenant", "acme", "--json")


def test_it_is_shown_and_ended(home: Path, countersign: Countersign) -> None:
    (home / "tenants.yaml").write_text(tenants_text(), "utf-8")
    assert countersign("migrate").status == 0
    with idp(dict(os.environ), ACME) as theirs:
        theirs.issuer = ISSUER[ACME]
        theirs.hire([Hire(oid("ann"), "Ann Okafor", ("finance-approvers",))])
    shown = countersign(*SHOW).json()
    assert shown["accounts"] == shown["accounts_of_the_idp"] == [OWN]
    ended = countersign("identity", "unlink", "--account", OWN, "--reason", "laptop stolen", "--json")
    assert ended.json()["unlinked"] == [OWN]
    assert countersign(*SHOW).json()["accounts"] == []
    again = countersign("identity", "unlink", "--subject", oid("ann"), "--reason", "laptop stolen")
    assert (again.status, "No chat account is linked" in again.out + again.err) == (1, True)
    linked = countersign("identity", "link", "--account", OWN, "--subject", oid("ann"), "--reason", "new", "--json")
    assert linked.json()["changed"] is True
    assert countersign(*SHOW).json()["accounts"] == [OWN]
