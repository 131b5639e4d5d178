"""What happened, provably. Knows nothing of chat, models or policy."""
