"""The whole system on this machine, with a suite of real tests: `python -m examples.demo`."""
