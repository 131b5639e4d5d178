"""Pages: the demo workspace now, inbox and audit explorer once sign-in exists."""
