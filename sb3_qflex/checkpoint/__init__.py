"""
Checkpoints of a whole training: written so that a crash at any moment leaves one that loads, and resumed bit for bit.

``docs/checkpoints.md`` has the user's view. A folder holds the last two *generations*, each with the model and all
state that training goes on from, and the *segments* of replay data that they share (see :mod:`.layout`).
"""
