"""What Android says of itself, of several of its versions, is read as it is meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.devices.adb.says import (
    Battery,
    is_package_name,
    parse_battery,
    parse_free_bytes,
    parse_package,
    parse_properties,
)
from qgjob_agent.devices.packages import PackageSays

NAME = st.from_regex(r"[a-z]+(\.[a-z0-9_]+){0,4}", fullmatch=True)
VALUE = st.text(st.characters(exclude_characters="[]\r\n", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


@given(st.dictionaries(NAME, VALUE, max_size=8))
def test_properties_are_read_as_they_are_printed(values: dict[str, str]) -> None:
    text = "".join(f"[{name}]: [{value}]\n" for name, value in values.items())
    assert parse_properties(text) == values
    assert parse_properties(text.replace("\n", "\r\n")) == values  # as shells before Android 7 print


def test_a_property_may_be_empty_or_have_several_lines() -> None:
    text = "[a]: []\n[ro.build.display]: [one\ntwo]\nnoise\n[b.c]: [x [y] z]\n"
    assert parse_properties(text) == {"ro.build.display": "one\ntwo", "b.c": "x [y] z"}


BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: {usb}
  Wireless powered: false
  Max charging current: 500000
  status: 2
  health: {health}
  present: {present}
  level: {level}
  scale: {scale}
  voltage: 4300
  temperature: 281
  technology: Li-ion
"""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Battery(57, powered=False)),
        ({"usb": "true"}, Battery(57, powered=True)),
        ({"level": "50", "scale": "200"}, Battery(25, powered=False)),
        ({"health": "3"}, Battery(57, powered=False, overheated=True)),
        ({"present": "false", "level": "0"}, Battery(None, powered=False)),
        ({"scale": "0"}, Battery(None, powered=False)),
        ({"level": "?"}, Battery(None, powered=False)),
    ],
)
def test_the_battery(values: dict[str, str], expected: Battery) -> None:
    given_values = {"usb": "false", "health": "2", "present": "true", "level": "57", "scale": "100"} | values
    assert parse_battery(BATTERY.format(**given_values)) == expected


def test_a_device_without_a_battery_service() -> None:
    assert parse_battery("Can't find service: battery\n") == Battery(None, powered=False)


DF = "Filesystem 1K-blocks Used Available Use% Mounted on\n"
LONG_DF = DF + "/dev/block/bootdevice/by-name/userdata\n        113000000  5000   2048000   1% /data\n"
OLD_DF = "Filesystem   Size   Used   Free   Blksize\n/data   1.9G   1.1G   804.5M   4096\n"
BOX_DF = "Filesystem  Size Used Avail Use% Mounted on\n/dev/fuse    10G   1G    9G  10% /data\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DF + "/dev/block/dm-5 113000000 5000 9000000   1% /data\n", 9_216_000_000),
        (LONG_DF, 2_097_152_000),  # a long name of a device stands on a line of its own
        (OLD_DF, 843_579_392),
        (BOX_DF, 9 * 1024**3),
        ("df: /data: No such file or directory\n", None),
        (DF, None),
        (DF + "odd\n", None),
        (DF + "a b c minus e f\n", None),
        ("", None),
    ],
)
def test_free_storage(text: str, expected: int | None) -> None:
    assert parse_free_bytes(text) == expected


@given(st.text(max_size=200))
def test_any_text_is_read_without_a_crash(text: str) -> None:
    parse_free_bytes(text)
    parse_battery(text)
    parse_properties(text)
    parse_package(f"Package [com.x] ({text}", "com.x")


PACKAGE = """Activity Resolver Table:
  Non-Data Actions:
      android.intent.action.MAIN:
        5c2bd0b com.example.shop/.MainActivity filter 9cf5ce8

Key Set Manager:
  [com.example.shop]
      Signing KeySets: 42

Packages:
  Package [com.example.shop] (e5c0fa5):
    userId=10190
    pkg=Package{8da337a com.example.shop}
    codePath=/data/app/~~Xn9ZCqhwYlNMrVOnzVbpLg==/com.example.shop-OF5QvK1mGhTzBbR8aw6_4A==
    versionCode=4012 minSdk=24 targetSdk=34
    versionName=4.1.2
    timeStamp=2026-11-30 09:00:00
    firstInstallTime=2026-11-01 10:00:00
    lastUpdateTime=2026-11-30 09:00:01
    User 0: ceDataInode=13 installed=true hidden=false
  Package [com.example.other] (aaaaaaa):
    codePath=/system/app/Other
    versionCode=1 minSdk=1 targetSdk=34
"""


def test_a_package_says_what_tells_its_installation_from_others() -> None:
    path = "/data/app/~~Xn9ZCqhwYlNMrVOnzVbpLg==/com.example.shop-OF5QvK1mGhTzBbR8aw6_4A=="
    assert parse_package(PACKAGE, "com.example.shop") == PackageSays("4012", "2026-11-30 09:00:01", path)
    assert parse_package(PACKAGE, "com.example.other") == PackageSays("1", "", "/system/app/Other")
    assert parse_package(PACKAGE, "com.example") is None
    assert parse_package("Unable to find package: com.example.shop\n", "com.example.shop") is None


def test_a_package_of_which_only_the_data_were_kept_is_not_installed() -> None:
    assert parse_package(PACKAGE.replace("installed=true", "installed=false"), "com.example.shop") is None


def test_a_device_that_changed_its_time_zone_has_the_same_installation() -> None:
    path = "/data/app/~~Xn9ZCqhwYlNMrVOnzVbpLg==/com.example.shop-OF5QvK1mGhTzBbR8aw6_4A=="
    says = PackageSays("7", "2026-11-30 09:00:01", path)
    assert says.is_of(PackageSays("7", "2026-11-30 18:00:01", path))
    assert not says.is_of(PackageSays("8", "2026-11-30 09:00:01", path))
    assert not says.is_of(PackageSays("7", "2026-11-30 09:00:01", path.replace("OF5", "OF6")))
    old = PackageSays("7", "2016-11-30 09:00:01", "/data/app/com.example.shop-1")  # before Android 8
    assert old.is_of(PackageSays("7", "2016-11-30 09:00:01", "/data/app/com.example.shop-1"))
    assert not old.is_of(PackageSays("7", "2016-11-30 09:00:02", "/data/app/com.example.shop-1"))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("com.example.shop", True), ("a.B_9", True), ("shop", False), ("com..x", False), ("com.9x", False),
        ("com.x; reboot", False), ("com.x\n", False), ("$(id).x", False), ("-r.x", False), ("", False),
    ],
)  # fmt: skip
def test_only_a_name_of_a_package_comes_into_a_command(text: str, is_one: bool) -> None:
    assert is_package_name(text) is is_one
