"""A stand-in for the server of adb and the Android devices behind it, which the real `adb` program talks to.

`server.FakeAdbServer` is the server, `device.FakeDevice` one device, `control` the port for other processes, and
`python -m tests.fakes.adb_server` a program of them. Installations are counted where they happen.
"""

from tests.fakes.adb_server.apk import make_apk
from tests.fakes.adb_server.device import FakeDevice, Fault
from tests.fakes.adb_server.server import FakeAdbServer

__all__ = ["FakeAdbServer", "FakeDevice", "Fault", "make_apk"]
