"""The loop between a model and the door. Knows no chat and no table of the gateway."""
