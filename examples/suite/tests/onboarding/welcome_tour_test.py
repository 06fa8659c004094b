"""The tour shows its screens in order and ends."""

from app.onboarding import SCREENS, Tour


def test_screens_come_in_order():
    tour, seen = Tour(), []
    while tour.screen:
        seen.append(tour.screen)
        tour.forward()
    assert tuple(seen) == SCREENS


def test_swiping_back_shows_the_screen_before():
    tour = Tour()
    tour.forward()
    tour.back()
    tour.back()
    assert tour.screen == "welcome"
