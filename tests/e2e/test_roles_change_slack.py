"""roles.yaml of one organisation changes under a running service: the next call counts it, with nothing restarted."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.kit.service_process import Home, Service, copy_home, serving
from tests.kit.slack_desk import ANN, DANA, FINANCE, SAM, Desk, Message, plain
from tests.rigs.local_slack import LocalSlack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Roles = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Office:
    """The organisation at work; `roles` is its own file, in place of the deployment's."""

    desk: Desk
    home: Home
    service: Service
    roles: Path

    async def reload(self, change: Callable[[Roles], Any] | str, kind: str = "policy.reloaded") -> None:
        """Writes the file and says so, as an operator does; returns once the service has noted it."""
        told = len(self._rows(kind))
        if isinstance(change, str):
            self.roles.write_text(change)
        else:
            said: Roles = yaml.safe_load(self.roles.read_text("utf-8"))
            change(said)
            self.roles.write_text(yaml.safe_dump(said))
        self.service.process.send_signal(signal.SIGHUP)

        async def noted() -> bool:
            return len(self._rows(kind)) > told

        await until(noted, kind)

    def _rows(self, kind: str) -> list[dict[str, Any]]:
        return self.home.rows(f"SELECT detail FROM agent_audit_log WHERE kind = '{kind}'")

    async def refund(self, user: str, order: str) -> Message:
        await self.desk.ask(user, f"Refund order {order}, 3 dollars, it came late")
        return await self.desk.card(FINANCE, f"for order {order}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(home_template: Home, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    folder = tmp_path_factory.mktemp("roles")
    home = copy_home(home_template, folder / "home")
    own = home.folder / "of-demo"
    own.mkdir()
    roles = own / "roles.yaml"
    roles.write_text((home.policy / "roles.yaml").read_text("utf-8"))
    said = yaml.safe_load(home.tenants.read_text("utf-8"))
    said["tenants"]["demo"]["policy"] = own.name
    home.tenants.write_text(yaml.safe_dump(said))
    async with LocalSlack.start("socket", folder) as slack, serving(home, slack.api_url) as service:
        yield Office(Desk(slack), home, service, roles)


async def test_who_is_given_a_role_may_ask_with_the_next_message(office: Office) -> None:
    dm = await office.desk.ask(SAM, "Refund order 1042, 3 dollars, it came late")
    await office.desk.said(dm, "refund")
    assert "refund.issue" not in await office.desk.command(SAM, "whoami", "You may ask for")
    await office.reload(lambda roles: roles["support_agent"]["groups"].append("sales"))
    await office.refund(SAM, "1037")


async def test_whose_role_went_may_neither_ask_nor_have_waiting_what_they_asked(office: Office) -> None:
    desk, home = office.desk, office.home
    card = await office.refund(DANA, "1042")
    await office.reload(lambda roles: roles["support_agent"]["groups"].remove("support"))
    dm = await desk.dm(DANA)
    await desk.ask(DANA, "Refund order 1042, 3 dollars, it came late")
    await desk.said(dm, "None of your groups has a role here")
    # The request stood there before: a press does not bring it about any more.
    await desk.press(card, ANN, "Approve")
    await desk.find(FINANCE, lambda text, m: m["ts"] == card["ts"] and "Cancelled" in plain(text), "it is cancelled")
    assert home.refunds() == []


async def test_a_file_that_is_wrong_changes_nothing(office: Office) -> None:
    await office.reload("support_agent: {", "policy.rejected")
    await office.desk.command(SAM, "whoami", "refund.issue")
