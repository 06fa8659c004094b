"""What qgjob is about: jobs, attempts, devices, agents, and the tables of their legal moves. No I/O, no clock.

Times are integers, milliseconds since the Unix epoch, named `*_at`; durations carry their unit in the name.
"""
