"""Several coordinators on one port of one machine: a parent that starts, watches and replaces them."""
