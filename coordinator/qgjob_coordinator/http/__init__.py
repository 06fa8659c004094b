"""REST, probes, metrics and their documentation: thin over `service/`."""
