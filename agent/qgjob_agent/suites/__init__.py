"""Suites: fetched by digest, unpacked, with their packages installed, kept on this host, given to what runs tests."""
