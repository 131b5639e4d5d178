"""Labelled tasks, graders and gates. Not in the wheel."""
