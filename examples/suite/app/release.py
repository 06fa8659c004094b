"""Which release of the shop is under test, and what that release can do.

qgjob tells a test by `QGJOB_APP_VERSION_ID`. The releases differ as releases do: features arrive, and the release
candidate brings a bug along.
"""

import os

RELEASES = ("shop-1.8.0", "shop-1.9.0", "shop-2.0.0-rc.1")
DEFAULT = "shop-1.9.0"

# feature -> first release that has it
SINCE = {
    "typo_tolerance": "shop-1.9.0",
    "biometrics": "shop-1.9.0",
    "quiet_hours": "shop-1.9.0",
    "merge_guest_cart": "shop-1.9.0",
    "stacked_coupons": "shop-2.0.0-rc.1",
}


def current():
    """The app version under test. Raises ValueError for one that the shop never shipped."""
    version = os.environ.get("QGJOB_APP_VERSION_ID", DEFAULT)
    if version not in RELEASES:
        raise ValueError(
            f"QGJOB_APP_VERSION_ID: {version!r} is not a release of the shop; known: {', '.join(RELEASES)}"
        )
    return version


def has(feature):
    """Whether the release under test has this feature."""
    return RELEASES.index(current()) >= RELEASES.index(SINCE[feature])
