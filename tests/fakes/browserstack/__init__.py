"""A stand-in for BrowserStack's App Automate: its REST API and its hub, with counts of what was asked of them."""
