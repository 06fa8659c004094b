"""Android devices and emulators, by the server of adb."""
