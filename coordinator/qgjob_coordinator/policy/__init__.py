"""Snapshot in, plan out. Pure: no I/O, no clock, no await; the same snapshot gives the same plan."""
