"""A small shop app: just enough behaviour for its tests to have something true to say."""
