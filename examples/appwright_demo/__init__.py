"""Real AppWright through the whole stack, on stand-ins of emulators: `python -m examples.appwright_demo`."""
