"""Rules of this house that no ready-made linter knows. Nothing here is part of the product."""
