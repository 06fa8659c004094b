"""Runs AppWright's test files, many of a group in one Playwright process, on an app that is installed already."""
