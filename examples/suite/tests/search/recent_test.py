"""Recent searches, newest first, each once."""

from app.search import RECENT, Recent


def test_a_repeated_search_moves_up():
    recent = Recent()
    for text in ("tea", "mug", "  TEA "):
        recent.remember(text)
    assert recent.texts == ["TEA", "mug"]


def test_only_the_last_ones_are_kept():
    recent = Recent()
    for number in range(RECENT + 3):
        recent.remember(f"search {number}")
    assert len(recent.texts) == RECENT
    assert recent.texts[0] == f"search {RECENT + 2}"
