"""What the app can ask of the device that it runs on."""

import os

# Emulators have no fingerprint reader that would be worth testing; real and cloud devices do.
WITH_FINGERPRINT = ("device", "browserstack")


def target():
    """The class of device that qgjob chose: emulator, device or browserstack."""
    return os.environ.get("QGJOB_TARGET", "emulator")


def has_fingerprint():
    """Whether a fingerprint can be enrolled."""
    return target() in WITH_FINGERPRINT
