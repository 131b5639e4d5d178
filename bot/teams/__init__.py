"""Microsoft Teams as a chat. The only importer of botbuilder and the connector's SDK; not configured, not imported."""
