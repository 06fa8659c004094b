"""A look ahead: when what waits should start, and groups should end, if nothing more comes."""
