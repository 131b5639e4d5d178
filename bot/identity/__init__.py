"""Chat account -> person -> principal, and the tokens that say so."""
