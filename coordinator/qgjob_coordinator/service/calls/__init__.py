"""What callers ask for: jobs are submitted, changed, watched and followed, devices held and let go."""
