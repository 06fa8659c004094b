"""Judges what a coordinator sees of its store, itself, the fleet and the queue: facts in, findings out."""
