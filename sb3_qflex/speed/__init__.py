"""``sb3-qflex speed``: how fast QFlex is on this machine, as a table and figures."""
