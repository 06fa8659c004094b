"""How long a test or an installation is expected to take, from what was measured before.

Two kinds of estimate, both a few whole numbers, so that a store keeps them as a short text and its scripts compute
exactly the same:

- `Estimate`, of one thing that is measured again and again: a mean that follows its changes, and a spread. Formulas and
  gains are those of RFC 6298 for round-trip times, but for the first measurements, which count alike.
- `Typical`, of many different things: about half of them take longer. Durations of tests are close to lognormal, and
  the median of a lognormal distribution is exp(mean of the logarithms), so a running mean of logarithms is all that it
  takes. A step-wise quantile estimator needs a step to be chosen, and forgets no faster than that allows.

A single measurement never moves an estimate by more than a bounded step, and what can't be a duration is no
measurement. The first ones of a test have no estimate to be measured by, so they are judged in two ways. One that is
far from what is typical is believed only in part, until the next one is like it. And while there are few, each that is
far from their mean takes one of them away, until none is left and it is the first: among the first the majority is
right. "Far" is a factor of e^2, 7.4, in all this.
"""
