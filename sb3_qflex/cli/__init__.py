"""The command line, ``sb3-qflex COMMAND``; parsers are built without torch, work is imported when it is done."""
