"""Pages: the demo workspace, a chat that needs no account. Knows the chat port; decides nothing."""
