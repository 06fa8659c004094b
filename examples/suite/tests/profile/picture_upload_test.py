"""Uploading a picture.

Flaky: at the first attempt of a job the media server is still starting.
"""

from app.backend import MediaServer
from app.profile import Profile

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


def test_the_picture_is_stored():
    profile, server = Profile("Ada", "ada@shop.test"), MediaServer()
    profile.upload_picture(server, PNG)
    assert profile.picture == "https://media.shop.test/ada@shop.test.png"
    assert server.files["ada@shop.test.png"] == PNG
