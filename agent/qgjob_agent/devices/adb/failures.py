"""What a refused installation means: whose fault it is, and what to do. Pure."""

from __future__ import annotations

import re

from qgjob_agent.devices.refusals import Blame, Failure

_B, _D, _W = Blame.BUILD, Blame.DEVICE, Blame.IN_THE_WAY
_UNKNOWN = Failure(Blame.DEVICE, "the device gave no reason that is known here; see what it said")

FAILURES: dict[str, Failure] = {
    # The build is broken, or does not fit the device.
    "INSTALL_FAILED_INVALID_APK": Failure(_B, "the build is no valid .apk; push one that is"),
    "INSTALL_FAILED_NO_MATCHING_ABIS": Failure(
        _B, "its native code is for another kind of processor; push a build for this one, or require the label abi"
    ),
    "INSTALL_FAILED_CPU_ABI_INCOMPATIBLE": Failure(
        _B, "its native code is for another kind of processor; push a build for this one, or require the label abi"
    ),
    "INSTALL_FAILED_OLDER_SDK": Failure(_B, "it needs a newer Android (minSdkVersion); require an os_version"),
    "INSTALL_FAILED_NEWER_SDK": Failure(_B, "it is not for an Android as new as this (maxSdkVersion)"),
    "INSTALL_FAILED_DEPRECATED_SDK_VERSION": Failure(
        _B, "it is made for an Android so old that this one takes it no more; raise its targetSdkVersion"
    ),
    "INSTALL_FAILED_TEST_ONLY": Failure(_B, "it is marked testOnly, and the device takes no such builds"),
    "INSTALL_FAILED_MISSING_SHARED_LIBRARY": Failure(_B, "it uses a library that the device does not have"),
    "INSTALL_FAILED_MISSING_FEATURE": Failure(_B, "it uses a feature that the device does not have"),
    "INSTALL_FAILED_MISSING_SPLIT": Failure(_B, "it is one part of a split build; push a universal .apk"),
    "INSTALL_FAILED_NO_SHARED_USER": Failure(_B, "it asks for a shared user that there is not"),
    "INSTALL_FAILED_BAD_SIGNATURE": Failure(_B, "its signature is not valid; sign it again"),
    "INSTALL_FAILED_BAD_DEX_METADATA": Failure(_B, "its dex metadata does not fit it; build it again"),
    "INSTALL_FAILED_BAD_PERMISSION_GROUP": Failure(_B, "it declares a permission in a group that is not its own"),
    "INSTALL_FAILED_PROCESS_NOT_DEFINED": Failure(_B, "it names a process that it does not define"),
    "INSTALL_FAILED_INSTANT_APP_INVALID": Failure(_B, "it is an instant app that the device does not take"),
    # What is installed keeps it out.
    "INSTALL_FAILED_UPDATE_INCOMPATIBLE": Failure(_W, "the app that is installed is signed by another key"),
    "INSTALL_PARSE_FAILED_INCONSISTENT_CERTIFICATES": Failure(
        _W, "it is signed by several keys, or by another one than the app that is installed", else_build=True
    ),
    "INSTALL_FAILED_VERSION_DOWNGRADE": Failure(_W, "the app that is installed is of a later version"),
    "INSTALL_FAILED_PERMISSION_MODEL_DOWNGRADE": Failure(_W, "the app that is installed is made for a newer Android"),
    "INSTALL_FAILED_SANDBOX_VERSION_DOWNGRADE": Failure(_W, "the app that is installed has a stricter sandbox"),
    "INSTALL_FAILED_UID_CHANGED": Failure(_W, "data of an earlier installation belong to another user id"),
    "INSTALL_FAILED_ALREADY_EXISTS": Failure(_W, "the app is installed, and can't be replaced"),
    "INSTALL_FAILED_DUPLICATE_PACKAGE": Failure(_W, "the app is installed, and can't be replaced"),
    "INSTALL_FAILED_WRONG_INSTALLED_VERSION": Failure(_W, "the app that is installed is of another version"),
    # Storage.
    "INSTALL_FAILED_INSUFFICIENT_STORAGE": Failure(
        Blame.ROOM, "it has no room for the build; remove from it what is not needed"
    ),
    # The device.
    "INSTALL_FAILED_ABORTED": Failure(_D, "the installation was declined on the device; turn its questions off"),
    "INSTALL_FAILED_USER_RESTRICTED": Failure(
        _D, "the device does not allow it; switch on 'Install via USB' in its developer options"
    ),
    "INSTALL_FAILED_VERIFICATION_FAILURE": Failure(
        _D, "a verifier on the device declined; switch off 'Verify apps over USB' in its developer options"
    ),
    "INSTALL_FAILED_VERIFICATION_TIMEOUT": Failure(
        _D, "a verifier on the device did not answer; switch off 'Verify apps over USB' in its developer options"
    ),
    "INSTALL_FAILED_CONFLICTING_PROVIDER": Failure(
        _D, "another app on the device provides the same content; remove that app"
    ),
    "INSTALL_FAILED_DUPLICATE_PERMISSION": Failure(
        _D, "another app on the device declares the same permission; remove that app"
    ),
    "INSTALL_FAILED_SHARED_USER_INCOMPATIBLE": Failure(
        _D, "another app on the device has its shared user and is signed by another key; remove that app"
    ),
    "INSTALL_FAILED_DEXOPT": Failure(_D, "the device could not prepare its code; restart it, and look at its storage"),
    "INSTALL_FAILED_INTERNAL_ERROR": Failure(_D, "the device failed inside; restart it"),
    "INSTALL_FAILED_CONTAINER_ERROR": Failure(_D, "the device's storage for apps failed; restart it"),
    "INSTALL_FAILED_MEDIA_UNAVAILABLE": Failure(_D, "the storage that it is to go to is not there"),
    "INSTALL_FAILED_INVALID_INSTALL_LOCATION": Failure(_D, "the storage that it is to go to can't be used"),
    "INSTALL_FAILED_INVALID_URI": Failure(_D, "the device lost the file while it was installed"),
    "INSTALL_FAILED_REPLACE_COULDNT_DELETE": Failure(_D, "the device could not remove the app's earlier version"),
    "INSTALL_FAILED_PACKAGE_CHANGED": Failure(_D, "another installation of the same app came between"),
    "INSTALL_FAILED_SESSION_INVALID": Failure(_D, "another installation of the same app came between"),
    "INSTALL_FAILED_OTHER_STAGED_SESSION_IN_PROGRESS": Failure(
        _D, "the device is to be restarted for another installation; restart it"
    ),
    "INSTALL_FAILED_MULTIPACKAGE_INCONSISTENCY": Failure(_D, "another installation of several apps is in the way"),
}
"""By the name that the package manager gives. INSTALL_PARSE_FAILED_* that is not named is the build's."""

_PARSE = Failure(_B, "the device can't read the build; is it a complete, signed .apk?")
_OF_ADB = (  # the first that is found: adb tries on after some of them
    (
        "doesn't match this client",
        Failure(Blame.HOST, "the adb server is of another version than the adb program; use one adb on this host"),
    ),
    ("device unauthorized", Failure(_D, "it has not allowed this host; accept the question for USB debugging on it")),
    ("device offline", Failure(_D, "it is offline for adb; plug it in again")),
    ("device still", Failure(_D, "it is still being connected")),
    ("no permissions", Failure(_D, "this user may not open it; add a udev rule for it")),
    ("' not found", Failure(_D, "it is not connected any more")),
    ("can't find service: package", Failure(_D, "its package manager does not answer; restart it")),
    ("cannot connect to daemon", Failure(Blame.HOST, "the adb server does not answer")),
    ("failed to stat", Failure(Blame.HOST, "the file of the build is gone")),
    ("protocol fault", Failure(_D, "the connection broke off")),
    ("error: closed", Failure(_D, "the connection broke off")),
    ("failed to read copy response", Failure(_D, "the connection broke off")),
)
_CODE = re.compile(r"\b(INSTALL_(?:PARSE_)?FAILED_[A-Z0-9_]+)(?:: ?([^\]\n]*))?")
_MOST_WORDS = 300


def failure_of(output: str) -> tuple[Failure, str]:
    """What a failed `adb install` means, and its own words for it, on one line."""
    found = _CODE.search(output)
    if found is not None:
        name, more = found[1], (found[2] or "").strip()
        known = FAILURES.get(name) or (_PARSE if name.startswith("INSTALL_PARSE_FAILED_") else _UNKNOWN)
        return known, f"{name}: {more}"[:_MOST_WORDS] if more else name
    words = " ".join(line.strip() for line in output.splitlines() if line.strip() and not line.startswith("Performing"))
    folded = words.lower()
    failure = next((each for text, each in _OF_ADB if text in folded), _UNKNOWN)
    return failure, words[:_MOST_WORDS] or "adb said nothing"
