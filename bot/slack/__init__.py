"""Slack: events in, blocks drawn, messages out. The only importer of slack_bolt and slack_sdk."""
