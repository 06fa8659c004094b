"""One module a figure, or a few that one run gives."""
