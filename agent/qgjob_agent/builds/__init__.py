"""Builds of apps: had from the coordinator or from a template, kept on this host, given to what installs them."""
