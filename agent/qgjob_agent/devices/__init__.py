"""Device providers find devices and install apps on them."""
