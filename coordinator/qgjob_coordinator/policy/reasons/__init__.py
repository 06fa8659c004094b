"""Why a job waits, in words: what each device is to it, and what the plan says of those that idle."""
