"""A stand-in for the aapt of Android's build tools, in which AppWright looks an .apk up."""

from pathlib import Path

PROGRAM = Path(__file__).parent / "aapt"
