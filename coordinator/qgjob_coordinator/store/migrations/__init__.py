"""From an older schema of the store to this version's: a step a version, each a module of this package.

A step may be broken off at any place and begun anew, by itself or by another coordinator, and changes nothing that it
has changed already. Each of its scripts checks that the move is still its own. A late write of a coordinator of the
older version, which was on its way when the move began, must do no harm: the step says why it does none.
"""
