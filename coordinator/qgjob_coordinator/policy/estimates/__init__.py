"""What tests and installations are expected to take, from what was measured."""
