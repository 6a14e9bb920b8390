"""``python -m sb3_qflex.benchmark speed``: how fast QFlex is on this machine, as a table and figures."""
