"""Simulators and, as an experiment, iPhones and iPads of this Mac, by the programs of Xcode."""
