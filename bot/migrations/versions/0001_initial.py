"""Every table, the log's triggers and the view of calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from audit import ddl
from audit.types import CostColumn, UtcDateTime, json_column

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('agent_audit_log',
    sa.Column('tenant_id', sa.Text(), nullable=False),
    sa.Column('seq', sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('occurred_at', UtcDateTime(), nullable=False),
    sa.Column('actor_user_id', sa.Text(), nullable=True),
    sa.Column('actor_roles', json_column(), nullable=False),
    sa.Column('session_id', sa.Text(), nullable=True),
    sa.Column('agent_name', sa.Text(), nullable=False),
    sa.Column('call_id', sa.Text(), nullable=True),
    sa.Column('tool_name', sa.Text(), nullable=True),
    sa.Column('tool_args', json_column(), nullable=True),
    sa.Column('authz_decision', sa.Text(), nullable=True),
    sa.Column('guardrail_verdict', sa.Text(), nullable=True),
    sa.Column('hitl_status', sa.Text(), nullable=True),
    sa.Column('hitl_approver', sa.Text(), nullable=True),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('latency_ms', sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('cost_usd', CostColumn(), nullable=True),
    sa.Column('detail', json_column(), nullable=True),
    sa.Column('format', sa.SmallInteger(), nullable=False),
    sa.Column('canonical', sa.Text(), nullable=False),
    sa.Column('prev_hash', sa.Text(), nullable=False),
    sa.Column('row_hash', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id', 'seq')
    )
    op.create_index('agent_audit_log_call', 'agent_audit_log', ['tenant_id', 'call_id'], unique=False)
    op.create_index('agent_audit_log_time', 'agent_audit_log', ['tenant_id', 'occurred_at'], unique=False)
    op.create_index('agent_audit_log_tool', 'agent_audit_log', ['tool_name', 'occurred_at'], unique=False)
    op.create_table('audit_head',
    sa.Column('tenant_id', sa.Text(), nullable=False),
    sa.Column('seq', sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column('hash', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('tenant_id')
    )
    op.create_table('confirmation',
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('surface', sa.String(), nullable=False),
    sa.Column('enterprise', sa.String(), nullable=False),
    sa.Column('team', sa.String(), nullable=False),
    sa.Column('account', sa.String(), nullable=False),
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('sub', sa.String(), nullable=False),
    sa.Column('flow', sa.String(), nullable=False),
    sa.Column('code_sha256', sa.String(), nullable=True),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('expires_at', UtcDateTime(), nullable=False),
    sa.Column('ended_at', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('sha256')
    )
    op.create_index('confirmation_account', 'confirmation', ['tenant', 'surface', 'team', 'account'], unique=False)
    op.create_index('ix_confirmation_expires_at', 'confirmation', ['expires_at'], unique=False)
    op.create_table('demo_message',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('channel', sa.String(), nullable=False),
    sa.Column('root', sa.String(), nullable=True),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('author', sa.String(), nullable=False),
    sa.Column('only_for', sa.String(), nullable=True),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('asks', json_column(), nullable=True),
    sa.Column('answer', json_column(), nullable=True),
    sa.Column('card', json_column(), nullable=True),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('changed_at', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_index('demo_message_by_channel', 'demo_message', ['tenant', 'channel', 'id'], unique=False)
    op.create_table('demo_seen',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('user', sa.String(), nullable=False),
    sa.Column('channel', sa.String(), nullable=False),
    sa.Column('message_id', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'user', 'channel')
    )
    op.create_table('effect',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('tool', sa.String(), nullable=False),
    sa.Column('state', sa.String(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('executor', sa.String(), nullable=False),
    sa.Column('claimed_at', UtcDateTime(), nullable=False),
    sa.Column('first_claimed_at', UtcDateTime(), nullable=False),
    sa.Column('finished_at', UtcDateTime(), nullable=True),
    sa.Column('reference', sa.String(), nullable=True),
    sa.Column('sentence', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('tenant', 'key')
    )
    op.create_table('guard_hit',
    sa.Column('hit_id', sa.Integer(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('who', sa.String(), nullable=False),
    sa.Column('at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('hit_id')
    )
    op.create_index('ix_guard_hit_tenant', 'guard_hit', ['tenant'], unique=False)
    op.create_index('ix_guard_hit_who', 'guard_hit', ['who'], unique=False)
    op.create_table('held_call',
    sa.Column('held_id', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('call_id', sa.String(), nullable=False),
    sa.Column('card_id', sa.String(), nullable=False),
    sa.Column('turn_id', sa.String(), nullable=False),
    sa.Column('session_id', sa.String(), nullable=False),
    sa.Column('thread_link', sa.String(), nullable=True),
    sa.Column('tool', sa.String(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('title', sa.String(), nullable=False),
    sa.Column('requester_issuer', sa.String(), nullable=False),
    sa.Column('requester_sub', sa.String(), nullable=False),
    sa.Column('requester_name', sa.String(), nullable=False),
    sa.Column('requester_roles', sa.String(), nullable=False),
    sa.Column('person_key', sa.String(), nullable=True),
    sa.Column('asked', sa.String(), nullable=False),
    sa.Column('prose', sa.String(), nullable=False),
    sa.Column('exposures', sa.String(), nullable=False),
    sa.Column('model', sa.String(), nullable=True),
    sa.Column('arguments', sa.String(), nullable=False),
    sa.Column('stable', sa.String(), nullable=False),
    sa.Column('headline', sa.String(), nullable=False),
    sa.Column('facts', sa.String(), nullable=False),
    sa.Column('draft', sa.String(), nullable=True),
    sa.Column('nonce', sa.String(), nullable=False),
    sa.Column('digest', sa.String(), nullable=False),
    sa.Column('mac', sa.String(), nullable=False),
    sa.Column('status', sa.String(), nullable=False),
    sa.Column('effect', sa.String(), nullable=False),
    sa.Column('revision', sa.Integer(), nullable=False),
    sa.Column('approver_roles', sa.String(), nullable=False),
    sa.Column('destinations', sa.String(), nullable=False),
    sa.Column('needed', sa.Integer(), nullable=False),
    sa.Column('why', sa.String(), nullable=False),
    sa.Column('resource', sa.String(), nullable=True),
    sa.Column('amount', sa.String(), nullable=True),
    sa.Column('currency', sa.String(), nullable=True),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('expires_at', UtcDateTime(), nullable=False),
    sa.Column('remind_at', UtcDateTime(), nullable=True),
    sa.Column('settled_at', UtcDateTime(), nullable=True),
    sa.Column('settled_by', sa.String(), nullable=True),
    sa.Column('reason', sa.String(), nullable=True),
    sa.Column('questions', sa.String(), nullable=False),
    sa.Column('result', sa.String(), nullable=True),
    sa.Column('reference', sa.String(), nullable=True),
    sa.Column('finished_at', UtcDateTime(), nullable=True),
    sa.Column('kills_everywhere', sa.Integer(), nullable=False),
    sa.Column('kills_tenant', sa.Integer(), nullable=False),
    sa.Column('erased_at', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('held_id'),
    sa.UniqueConstraint('tenant', 'call_id')
    )
    op.create_index('held_call_card', 'held_call', ['tenant', 'card_id'], unique=False)
    op.create_index('held_call_due', 'held_call', ['status', 'expires_at'], unique=False)
    op.create_index('held_call_remind', 'held_call', ['status', 'remind_at'], unique=False)
    op.create_index('held_call_requester', 'held_call', ['tenant', 'requester_issuer', 'requester_sub', 'created_at'], unique=False)
    op.create_index('held_call_resource', 'held_call', ['tenant', 'resource'], unique=False)
    op.create_index('held_call_status', 'held_call', ['tenant', 'status', 'created_at'], unique=False)
    op.create_index('held_call_turn', 'held_call', ['tenant', 'turn_id'], unique=False)
    op.create_table('identity_bar',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('surface', sa.String(), nullable=False),
    sa.Column('team', sa.String(), nullable=False),
    sa.Column('account', sa.String(), nullable=False),
    sa.Column('cause', sa.String(), nullable=False),
    sa.Column('by', sa.String(), nullable=False),
    sa.Column('barred_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'surface', 'team', 'account')
    )
    op.create_table('identity_link',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('surface', sa.String(), nullable=False),
    sa.Column('enterprise', sa.String(), nullable=False),
    sa.Column('team', sa.String(), nullable=False),
    sa.Column('account', sa.String(), nullable=False),
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('sub', sa.String(), nullable=False),
    sa.Column('how', sa.String(), nullable=False),
    sa.Column('by', sa.String(), nullable=False),
    sa.Column('linked_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'surface', 'enterprise', 'team', 'account')
    )
    op.create_index('identity_link_subject', 'identity_link', ['tenant', 'issuer', 'sub'], unique=False)
    op.create_table('kill_lock',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('thrown', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('tenant')
    )
    op.create_table('kill_switch',
    sa.Column('switch_id', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('value', sa.String(), nullable=False),
    sa.Column('label', sa.String(), nullable=False),
    sa.Column('by_id', sa.String(), nullable=False),
    sa.Column('by_name', sa.String(), nullable=False),
    sa.Column('since', UtcDateTime(), nullable=False),
    sa.Column('reason', sa.String(), nullable=False),
    sa.Column('active', sa.Boolean(), nullable=False),
    sa.Column('resumed_by', sa.String(), nullable=True),
    sa.Column('resumed_at', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('switch_id')
    )
    op.create_index('ix_kill_switch_tenant', 'kill_switch', ['tenant'], unique=False)
    op.create_table('link_ticket',
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('surface', sa.String(), nullable=False),
    sa.Column('enterprise', sa.String(), nullable=False),
    sa.Column('team', sa.String(), nullable=False),
    sa.Column('account', sa.String(), nullable=False),
    sa.Column('channel', sa.String(), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('expires_at', UtcDateTime(), nullable=False),
    sa.Column('ended_at', UtcDateTime(), nullable=True),
    sa.Column('ended', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('sha256')
    )
    op.create_index('ix_link_ticket_expires_at', 'link_ticket', ['expires_at'], unique=False)
    op.create_index('link_ticket_account', 'link_ticket', ['tenant', 'surface', 'team', 'account'], unique=False)
    op.create_table('lockout',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('who', sa.String(), nullable=False),
    sa.Column('until', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'who')
    )
    op.create_table('posted_card',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('card_id', sa.String(), nullable=False),
    sa.Column('surface', sa.String(), nullable=False),
    sa.Column('team', sa.String(), nullable=False),
    sa.Column('destination', sa.String(), nullable=False),
    sa.Column('channel', sa.String(), nullable=False),
    sa.Column('message_id', sa.String(), nullable=False),
    sa.Column('drawn', sa.String(), nullable=False),
    sa.Column('posted_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'card_id', 'surface', 'team', 'destination')
    )
    op.create_table('press',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('press_id', sa.String(), nullable=False),
    sa.Column('held_id', sa.String(), nullable=False),
    sa.Column('result', sa.String(), nullable=False),
    sa.Column('sentence', sa.String(), nullable=False),
    sa.Column('at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'press_id')
    )
    op.create_index('ix_press_held_id', 'press', ['held_id'], unique=False)
    op.create_table('presupposes',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('held_id', sa.String(), nullable=False),
    sa.Column('on_held_id', sa.String(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'held_id', 'on_held_id')
    )
    op.create_index('ix_presupposes_on_held_id', 'presupposes', ['on_held_id'], unique=False)
    op.create_table('rate_use',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('who', sa.String(), nullable=False),
    sa.Column('window_start', UtcDateTime(), nullable=False),
    sa.Column('uses', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'name', 'who', 'window_start')
    )
    op.create_table('replica',
    sa.Column('replica_id', sa.String(), nullable=False),
    sa.Column('machine', sa.String(), nullable=False),
    sa.Column('pid', sa.Integer(), nullable=False),
    sa.Column('started_at', UtcDateTime(), nullable=False),
    sa.Column('beat_at', UtcDateTime(), nullable=False),
    sa.Column('taken_by', sa.String(), nullable=True),
    sa.Column('taken_at', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('replica_id')
    )
    op.create_table('scim_contact',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant')
    )
    op.create_table('scim_member',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('group_id', sa.String(), nullable=False),
    sa.Column('member_id', sa.String(), nullable=False),
    sa.Column('member_type', sa.String(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'group_id', 'member_id')
    )
    op.create_index('scim_member_of', 'scim_member', ['tenant', 'member_id'], unique=False)
    op.create_table('scim_refusals',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('minute', UtcDateTime(), nullable=False),
    sa.Column('seen', sa.Integer(), nullable=False),
    sa.Column('told', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'minute')
    )
    op.create_table('scim_resource',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('resource_id', sa.String(), nullable=False),
    sa.Column('resource_type', sa.String(), nullable=False),
    sa.Column('external_id', sa.String(), nullable=True),
    sa.Column('unique_name', sa.String(), nullable=True),
    sa.Column('display_name', sa.String(), nullable=True),
    sa.Column('name_key', sa.String(), nullable=True),
    sa.Column('active', sa.Boolean(), nullable=False),
    sa.Column('employee_number', sa.String(), nullable=True),
    sa.Column('email', sa.String(), nullable=True),
    sa.Column('document', sa.String(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('modified_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'resource_id'),
    sa.UniqueConstraint('tenant', 'resource_type', 'external_id'),
    sa.UniqueConstraint('tenant', 'resource_type', 'unique_name')
    )
    op.create_index('scim_resource_listed', 'scim_resource', ['tenant', 'resource_type', 'created_at'], unique=False)
    op.create_index('scim_resource_named', 'scim_resource', ['tenant', 'resource_type', 'name_key'], unique=False)
    op.create_table('scim_token',
    sa.Column('token_id', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('expires_at', UtcDateTime(), nullable=True),
    sa.Column('revoked_at', UtcDateTime(), nullable=True),
    sa.Column('used_at', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('token_id'),
    sa.UniqueConstraint('sha256')
    )
    op.create_index('ix_scim_token_tenant', 'scim_token', ['tenant'], unique=False)
    op.create_table('sealed_grant',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('sub', sa.String(), nullable=False),
    sa.Column('kek_id', sa.String(), nullable=False),
    sa.Column('wrapped_key', sa.String(), nullable=False),
    sa.Column('sealed', sa.String(), nullable=False),
    sa.Column('generation', sa.Integer(), nullable=False),
    sa.Column('token_sha256', sa.String(), nullable=False),
    sa.Column('lease', sa.String(), nullable=True),
    sa.Column('lease_until', UtcDateTime(), nullable=True),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('changed_at', UtcDateTime(), nullable=False),
    sa.Column('ended_at', UtcDateTime(), nullable=True),
    sa.Column('ended', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('tenant', 'issuer', 'sub')
    )
    op.create_table('seen_message',
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=True),
    sa.Column('seen_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('key')
    )
    op.create_index('ix_seen_message_seen_at', 'seen_message', ['seen_at'], unique=False)
    op.create_table('signin_flow',
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('purpose', sa.String(), nullable=False),
    sa.Column('ticket', sa.String(), nullable=True),
    sa.Column('step', sa.String(), nullable=False),
    sa.Column('issuer', sa.String(), nullable=True),
    sa.Column('sub', sa.String(), nullable=True),
    sa.Column('chat_proved', sa.Boolean(), nullable=False),
    sa.Column('back_to', sa.String(), nullable=True),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('expires_at', UtcDateTime(), nullable=False),
    sa.Column('ended_at', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('sha256')
    )
    op.create_index('ix_signin_flow_expires_at', 'signin_flow', ['expires_at'], unique=False)
    op.create_table('signin_seen',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('sub', sa.String(), nullable=False),
    sa.Column('at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'issuer', 'sub')
    )
    op.create_table('slack_bots',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('client_id', sa.String(length=32), nullable=False),
    sa.Column('app_id', sa.String(length=32), nullable=False),
    sa.Column('enterprise_id', sa.String(length=32), nullable=True),
    sa.Column('enterprise_name', sa.String(length=200), nullable=True),
    sa.Column('team_id', sa.String(length=32), nullable=True),
    sa.Column('team_name', sa.String(length=200), nullable=True),
    sa.Column('bot_token', sa.Text(), nullable=True),
    sa.Column('bot_id', sa.String(length=32), nullable=True),
    sa.Column('bot_user_id', sa.String(length=32), nullable=True),
    sa.Column('bot_scopes', sa.String(length=1000), nullable=True),
    sa.Column('bot_refresh_token', sa.Text(), nullable=True),
    sa.Column('bot_token_expires_at', sa.DateTime(), nullable=True),
    sa.Column('is_enterprise_install', sa.Boolean(), nullable=False),
    sa.Column('installed_at', sa.DateTime(), nullable=False),
    sa.Column('lease', sa.String(length=64), nullable=True),
    sa.Column('lease_until', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_index('slack_bots_idx', 'slack_bots', ['client_id', 'enterprise_id', 'team_id', 'installed_at'], unique=False)
    op.create_table('slack_installations',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('client_id', sa.String(length=32), nullable=False),
    sa.Column('app_id', sa.String(length=32), nullable=False),
    sa.Column('enterprise_id', sa.String(length=32), nullable=True),
    sa.Column('enterprise_name', sa.String(length=200), nullable=True),
    sa.Column('enterprise_url', sa.String(length=200), nullable=True),
    sa.Column('team_id', sa.String(length=32), nullable=True),
    sa.Column('team_name', sa.String(length=200), nullable=True),
    sa.Column('bot_token', sa.Text(), nullable=True),
    sa.Column('bot_id', sa.String(length=32), nullable=True),
    sa.Column('bot_user_id', sa.String(length=32), nullable=True),
    sa.Column('bot_scopes', sa.String(length=1000), nullable=True),
    sa.Column('bot_refresh_token', sa.Text(), nullable=True),
    sa.Column('bot_token_expires_at', sa.DateTime(), nullable=True),
    sa.Column('user_id', sa.String(length=32), nullable=False),
    sa.Column('user_token', sa.Text(), nullable=True),
    sa.Column('user_scopes', sa.String(length=1000), nullable=True),
    sa.Column('user_refresh_token', sa.Text(), nullable=True),
    sa.Column('user_token_expires_at', sa.DateTime(), nullable=True),
    sa.Column('incoming_webhook_url', sa.String(length=200), nullable=True),
    sa.Column('incoming_webhook_channel', sa.String(length=200), nullable=True),
    sa.Column('incoming_webhook_channel_id', sa.String(length=200), nullable=True),
    sa.Column('incoming_webhook_configuration_url', sa.String(length=200), nullable=True),
    sa.Column('is_enterprise_install', sa.Boolean(), nullable=False),
    sa.Column('token_type', sa.String(length=32), nullable=True),
    sa.Column('installed_at', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_index('slack_installations_idx', 'slack_installations', ['client_id', 'enterprise_id', 'team_id', 'user_id', 'installed_at'], unique=False)
    op.create_table('slack_oauth_states',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('state', sa.String(length=200), nullable=False),
    sa.Column('expire_at', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('stranger_acts',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('act', sa.String(), nullable=False),
    sa.Column('minute', UtcDateTime(), nullable=False),
    sa.Column('seen', sa.Integer(), nullable=False),
    sa.Column('told', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'act', 'minute')
    )
    op.create_table('teams_conversation',
    sa.Column('team', sa.String(), nullable=False),
    sa.Column('conversation', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('service_url', sa.String(), nullable=False),
    sa.Column('bot', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=True),
    sa.Column('teams_team', sa.String(), nullable=True),
    sa.Column('person', sa.String(), nullable=True),
    sa.Column('seen_at', UtcDateTime(), nullable=False),
    sa.Column('removed_at', UtcDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('team', 'conversation')
    )
    op.create_index('ix_teams_conversation_tenant', 'teams_conversation', ['tenant'], unique=False)
    op.create_table('teams_person',
    sa.Column('team', sa.String(), nullable=False),
    sa.Column('person', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('account', sa.String(), nullable=False),
    sa.Column('personal', sa.String(), nullable=True),
    sa.Column('met_in', sa.String(), nullable=False),
    sa.Column('seen_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('team', 'person')
    )
    op.create_index('ix_teams_person_tenant', 'teams_person', ['tenant'], unique=False)
    op.create_table('thread_bot',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('session_id', sa.String(), nullable=False),
    sa.Column('since', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'session_id')
    )
    op.create_table('told',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('about', sa.String(), nullable=False),
    sa.Column('what', sa.String(), nullable=False),
    sa.Column('by', sa.String(), nullable=True),
    sa.Column('told_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'about', 'what')
    )
    op.create_table('transcript',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('session_id', sa.String(), nullable=False),
    sa.Column('subject', sa.String(), nullable=False),
    sa.Column('seq', sa.Integer(), nullable=True),
    sa.Column('turn_id', sa.String(), nullable=False),
    sa.Column('segment', sa.String(), nullable=False),
    sa.Column('step', sa.String(), nullable=False),
    sa.Column('part', sa.Integer(), nullable=False),
    sa.Column('content', json_column(), nullable=False),
    sa.Column('exposure', sa.String(), nullable=True),
    sa.Column('note', json_column(), nullable=True),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('tenant', 'session_id', 'subject', 'seq', name='transcript_order'),
    sa.UniqueConstraint('tenant', 'turn_id', 'segment', 'step', 'part', name='transcript_once')
    )
    op.create_index('transcript_age', 'transcript', ['tenant', 'created_at'], unique=False)
    op.create_table('turn',
    sa.Column('turn_id', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('session_id', sa.String(), nullable=False),
    sa.Column('surface', sa.String(), nullable=False),
    sa.Column('team', sa.String(), nullable=False),
    sa.Column('channel', sa.String(), nullable=False),
    sa.Column('root', sa.String(), nullable=False),
    sa.Column('room', sa.String(), nullable=False),
    sa.Column('account', sa.String(), nullable=False),
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('sub', sa.String(), nullable=False),
    sa.Column('message_id', sa.String(), nullable=False),
    sa.Column('thread_link', sa.String(), nullable=True),
    sa.Column('status', sa.String(), nullable=False),
    sa.Column('private', sa.Boolean(), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('changed_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('turn_id')
    )
    op.create_index('ix_turn_session_id', 'turn', ['session_id'], unique=False)
    op.create_index('ix_turn_tenant', 'turn', ['tenant'], unique=False)
    op.create_table('used_jti',
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('jti', sa.String(), nullable=False),
    sa.Column('expires_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('issuer', 'jti')
    )
    op.create_index('ix_used_jti_expires_at', 'used_jti', ['expires_at'], unique=False)
    op.create_table('vote',
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('held_id', sa.String(), nullable=False),
    sa.Column('revision', sa.Integer(), nullable=False),
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('sub', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('person_key', sa.String(), nullable=False),
    sa.Column('digest', sa.String(), nullable=False),
    sa.Column('at', UtcDateTime(), nullable=False),
    sa.Column('mac', sa.String(), nullable=False),
    sa.Column('void', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('tenant', 'held_id', 'revision', 'issuer', 'sub')
    )
    op.create_index('vote_voter', 'vote', ['tenant', 'issuer', 'sub'], unique=False)
    op.create_table('web_session',
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('tenant', sa.String(), nullable=False),
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('sub', sa.String(), nullable=False),
    sa.Column('sid', sa.String(), nullable=True),
    sa.Column('idp_sub', sa.String(), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('seen_at', UtcDateTime(), nullable=False),
    sa.Column('expires_at', UtcDateTime(), nullable=False),
    sa.Column('ended_at', UtcDateTime(), nullable=True),
    sa.Column('ended', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('sha256')
    )
    op.create_index('ix_web_session_expires_at', 'web_session', ['expires_at'], unique=False)
    op.create_index('web_session_sid', 'web_session', ['issuer', 'sid'], unique=False)
    op.create_index('web_session_subject', 'web_session', ['tenant', 'issuer', 'sub'], unique=False)
    ddl.guard(op.get_bind())


def downgrade() -> None:
    ddl.drop_all(op.get_bind())
    op.drop_index('web_session_subject', table_name='web_session')
    op.drop_index('web_session_sid', table_name='web_session')
    op.drop_index('ix_web_session_expires_at', table_name='web_session')
    op.drop_table('web_session')
    op.drop_index('vote_voter', table_name='vote')
    op.drop_table('vote')
    op.drop_index('ix_used_jti_expires_at', table_name='used_jti')
    op.drop_table('used_jti')
    op.drop_index('ix_turn_tenant', table_name='turn')
    op.drop_index('ix_turn_session_id', table_name='turn')
    op.drop_table('turn')
    op.drop_index('transcript_age', table_name='transcript')
    op.drop_table('transcript')
    op.drop_table('told')
    op.drop_table('thread_bot')
    op.drop_index('ix_teams_person_tenant', table_name='teams_person')
    op.drop_table('teams_person')
    op.drop_index('ix_teams_conversation_tenant', table_name='teams_conversation')
    op.drop_table('teams_conversation')
    op.drop_table('stranger_acts')
    op.drop_table('slack_oauth_states')
    op.drop_index('slack_installations_idx', table_name='slack_installations')
    op.drop_table('slack_installations')
    op.drop_index('slack_bots_idx', table_name='slack_bots')
    op.drop_table('slack_bots')
    op.drop_table('signin_seen')
    op.drop_index('ix_signin_flow_expires_at', table_name='signin_flow')
    op.drop_table('signin_flow')
    op.drop_index('ix_seen_message_seen_at', table_name='seen_message')
    op.drop_table('seen_message')
    op.drop_table('sealed_grant')
    op.drop_index('ix_scim_token_tenant', table_name='scim_token')
    op.drop_table('scim_token')
    op.drop_index('scim_resource_named', table_name='scim_resource')
    op.drop_index('scim_resource_listed', table_name='scim_resource')
    op.drop_table('scim_resource')
    op.drop_table('scim_refusals')
    op.drop_index('scim_member_of', table_name='scim_member')
    op.drop_table('scim_member')
    op.drop_table('scim_contact')
    op.drop_table('replica')
    op.drop_table('rate_use')
    op.drop_index('ix_presupposes_on_held_id', table_name='presupposes')
    op.drop_table('presupposes')
    op.drop_index('ix_press_held_id', table_name='press')
    op.drop_table('press')
    op.drop_table('posted_card')
    op.drop_table('lockout')
    op.drop_index('link_ticket_account', table_name='link_ticket')
    op.drop_index('ix_link_ticket_expires_at', table_name='link_ticket')
    op.drop_table('link_ticket')
    op.drop_index('ix_kill_switch_tenant', table_name='kill_switch')
    op.drop_table('kill_switch')
    op.drop_table('kill_lock')
    op.drop_index('identity_link_subject', table_name='identity_link')
    op.drop_table('identity_link')
    op.drop_table('identity_bar')
    op.drop_index('held_call_turn', table_name='held_call')
    op.drop_index('held_call_status', table_name='held_call')
    op.drop_index('held_call_resource', table_name='held_call')
    op.drop_index('held_call_requester', table_name='held_call')
    op.drop_index('held_call_remind', table_name='held_call')
    op.drop_index('held_call_due', table_name='held_call')
    op.drop_index('held_call_card', table_name='held_call')
    op.drop_table('held_call')
    op.drop_index('ix_guard_hit_who', table_name='guard_hit')
    op.drop_index('ix_guard_hit_tenant', table_name='guard_hit')
    op.drop_table('guard_hit')
    op.drop_table('effect')
    op.drop_table('demo_seen')
    op.drop_index('demo_message_by_channel', table_name='demo_message')
    op.drop_table('demo_message')
    op.drop_index('ix_confirmation_expires_at', table_name='confirmation')
    op.drop_index('confirmation_account', table_name='confirmation')
    op.drop_table('confirmation')
