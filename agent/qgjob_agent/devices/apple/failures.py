"""What a refused installation on a simulator or an Apple device means: whose fault it is, and what to do. Pure."""

from __future__ import annotations

from qgjob_agent.devices.refusals import Blame, Failure

_B, _D, _W = Blame.BUILD, Blame.DEVICE, Blame.IN_THE_WAY
_UNKNOWN = Failure(Blame.DEVICE, "no reason that is known here was given; see what was said")

FAILURES: dict[str, Failure] = {
    # The build is broken, or does not fit the device.
    "Missing bundle ID": Failure(_B, "its Info.plist has no CFBundleIdentifier; build it again"),
    "application bundle was not found": Failure(_B, "what was unpacked is no .app folder; push a zip of one"),
    "Failed to find matching arch": Failure(_B, "its code is for another kind of processor; build it for this one"),
    "needs to be updated by the developer": Failure(
        _B, "it is not for this iOS, or not for a simulator; build it anew"
    ),
    "DeviceOSVersionTooLow": Failure(_B, "it needs a newer iOS (MinimumOSVersion); require an os_version"),
    "requires a newer version of iOS": Failure(_B, "it needs a newer iOS (MinimumOSVersion); require an os_version"),
    "DeviceFamilyNotSupported": Failure(_B, "it is not for this kind of device (UIDeviceFamily)"),
    "PackageInspectionFailed": Failure(_B, "it can't be read; build and sign it again"),
    "PackageExtractionFailed": Failure(_B, "it can't be unpacked; build it again"),
    "Info.plist missing": Failure(_B, "a part of it has no Info.plist; build it again"),
    "contains an invalid signature": Failure(_B, "its signature is not valid; sign it again"),
    "No code signature found": Failure(_B, "it is not signed; sign it for this device"),
    "0xe8008014": Failure(_B, "its signature is not valid; sign it again"),
    "0xe8008018": Failure(_B, "the certificate that signed it is no longer valid; sign it by another"),
    "0xe800801c": Failure(_B, "it is not signed; sign it for this device"),
    # What is installed keeps it out.
    "MismatchedApplicationIdentifierEntitlement": Failure(_W, "the app that is installed is signed by another team"),
    "does not match the installed application": Failure(_W, "the app that is installed is signed by another team"),
    # Storage.
    "No space left on device": Failure(Blame.ROOM, "it has no room for the build; remove what is not needed"),
    "Not enough storage": Failure(Blame.ROOM, "it has no room for the build; remove what is not needed"),
    "InsufficientStorage": Failure(Blame.ROOM, "it has no room for the build; remove what is not needed"),
    # The device.
    "0xe8008012": Failure(
        _D, "its provisioning profile does not have this device; add the device to it, and sign again"
    ),
    "0xe8008015": Failure(_D, "it has no provisioning profile for this device; add the device to one, and sign again"),
    "valid provisioning profile": Failure(
        _D, "it has no provisioning profile for this device; add the device to one, and sign again"
    ),
    "device is locked": Failure(_D, "it is locked; unlock it, and switch off its automatic lock"),
    "DeviceLocked": Failure(_D, "it is locked; unlock it, and switch off its automatic lock"),
    "Developer Mode": Failure(_D, "its Developer Mode is off; switch it on under Settings, Privacy & Security"),
    "not supported by this device": Failure(_D, "it does not let this host install; pair it again"),
    "developer disk image": Failure(_D, "the support for developers could not be put on it; unlock it, update Xcode"),
    "tunnel connection failed": Failure(_D, "the connection to it broke off; plug it in again"),
    "device was not found": Failure(_D, "it is not connected any more"),
    "Invalid device": Failure(_D, "it is not there any more"),
    "in current state": Failure(_D, "it is not booted any more"),
    # This host.
    "CoreSimulatorService": Failure(Blame.HOST, "the service of the simulators ended; it is tried again"),
}
"""By a text that stands in what was said, the first that does, in whatever case."""

_MOST_WORDS = 300


def failure_of(words: str) -> tuple[Failure, str]:
    """What a failed installation means, and its own words for it, on one line."""
    line = " ".join(words.split())
    folded = line.lower()
    found = next((failure for text, failure in FAILURES.items() if text.lower() in folded), _UNKNOWN)
    return found, line[:_MOST_WORDS] or "nothing was said"
