"""Pure decisions and the YAML the security team owns. No clock, no I/O, no randomness."""
