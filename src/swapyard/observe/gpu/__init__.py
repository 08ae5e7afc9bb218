"""Graphics cards: a module per source that can read them, and one that decides which source counts."""
