"""Devices that are the parallel sessions of a BrowserStack plan."""
