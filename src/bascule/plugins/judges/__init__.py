"""Whether a passage says a sentence."""
