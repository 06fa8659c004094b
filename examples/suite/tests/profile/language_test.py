"""The app speaks the customer's language, else English."""

from app.profile import Profile


def test_headings():
    profile = Profile("Ada", "ada@shop.test")
    shown = {}
    for language in ("en", "de", "fr", "tlh"):
        profile.language = language
        shown[language] = profile.heading()
    assert shown == {"en": "Orders", "de": "Bestellungen", "fr": "Commandes", "tlh": "Orders"}
