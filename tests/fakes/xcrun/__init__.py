"""A stand-in for Xcode's `xcrun simctl` and `xcrun devicectl`: a program that keeps its state in a folder."""

from tests.fakes.xcrun.xcode import PhoneState, SimulatorState, Xcode

__all__ = ["PhoneState", "SimulatorState", "Xcode"]
