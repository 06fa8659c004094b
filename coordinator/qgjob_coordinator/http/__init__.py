"""The REST face: thin over service/."""
