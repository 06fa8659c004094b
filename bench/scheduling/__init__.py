"""Scheduling in virtual time: the coordinator's own policy against baselines, on traces."""
