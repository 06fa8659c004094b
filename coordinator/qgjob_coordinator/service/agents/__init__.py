"""The sessions of agents: what they say, what they hold, and what they are told."""
