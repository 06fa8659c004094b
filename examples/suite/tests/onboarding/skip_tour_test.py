"""Skipping leads to the account screen and not past it."""

from app.onboarding import Tour


def test_skip_stops_at_the_account_screen():
    tour = Tour()
    tour.skip()
    assert tour.screen == "account"


def test_the_tour_goes_on_where_it_was_left():
    assert Tour(position=2).screen == "deliver"
