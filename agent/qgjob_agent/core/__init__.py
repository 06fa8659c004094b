"""The agent's decisions: events in, instructions out. No I/O, no clock, no randomness: `now` is an argument.

`Machine` is the only mutator; the shells around it (session, spool, runners, device providers) carry out what it says.
"""
