"""Whether a device can be trusted, from what came of its attempts and installations. See judging.py for the rule."""
