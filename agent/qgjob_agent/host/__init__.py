"""What every part may ask of the host: its processes, its files, its ports."""
