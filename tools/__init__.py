"""The one door to every effect, and what stands behind it."""
