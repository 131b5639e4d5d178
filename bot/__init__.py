"""The service: who speaks, one turn, the chat surfaces."""
