"""A hub that stands for Appium with emulators behind it: sessions over HTTP, counts of what they did to the devices."""
