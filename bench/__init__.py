"""Measures qgjob on this machine: `python -m bench`. See README.md for what each figure means."""
