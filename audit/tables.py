"""The audit's two tables as SQLModel knows them. Columns and indexes only; triggers and rights are in `audit.ddl`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, Text
from sqlmodel import Field, SQLModel

from audit.types import CostColumn, UtcDateTime, json_column


def _whole() -> Any:
    return BigInteger().with_variant(Integer(), "sqlite")


class AuditRow(SQLModel, table=True):
    """One fact, sealed. The primary key is the only unique key, and must stay so: `INSERT OR REPLACE` deletes
    silently through every other one."""

    __tablename__ = "agent_audit_log"
    __table_args__ = (
        Index("agent_audit_log_call", "tenant_id", "call_id"),
        Index("agent_audit_log_time", "tenant_id", "occurred_at"),
        Index("agent_audit_log_tool", "tool_name", "occurred_at"),
    )

    tenant_id: str = Field(sa_column=Column(Text, primary_key=True))
    seq: int = Field(sa_column=Column(_whole(), primary_key=True, autoincrement=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    occurred_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    actor_user_id: str | None = Field(default=None, sa_column=Column(Text))
    actor_roles: list[str] = Field(sa_column=Column(json_column(), nullable=False))
    session_id: str | None = Field(default=None, sa_column=Column(Text))
    agent_name: str = Field(sa_column=Column(Text, nullable=False))
    call_id: str | None = Field(default=None, sa_column=Column(Text))
    tool_name: str | None = Field(default=None, sa_column=Column(Text))
    tool_args: dict[str, Any] | None = Field(default=None, sa_column=Column(json_column()))
    authz_decision: str | None = Field(default=None, sa_column=Column(Text))
    guardrail_verdict: str | None = Field(default=None, sa_column=Column(Text))
    hitl_status: str | None = Field(default=None, sa_column=Column(Text))
    hitl_approver: str | None = Field(default=None, sa_column=Column(Text))
    status: str = Field(sa_column=Column(Text, nullable=False))
    latency_ms: int | None = Field(default=None, sa_column=Column(_whole()))
    model: str | None = Field(default=None, sa_column=Column(Text))
    cost_usd: Decimal | None = Field(default=None, sa_column=Column(CostColumn))
    detail: dict[str, Any] | None = Field(default=None, sa_column=Column(json_column()))
    format: int = Field(sa_column=Column(SmallInteger, nullable=False))
    canonical: str = Field(sa_column=Column(Text, nullable=False))
    prev_hash: str = Field(sa_column=Column(Text, nullable=False))
    row_hash: str = Field(sa_column=Column(Text, nullable=False))


class AuditHead(SQLModel, table=True):
    """Where each tenant's chain ends. Locked by whoever appends; moved by the log's own triggers alone."""

    __tablename__ = "audit_head"

    tenant_id: str = Field(sa_column=Column(Text, primary_key=True))
    seq: int = Field(sa_column=Column(_whole(), nullable=False))
    hash: str = Field(sa_column=Column(Text, nullable=False))
