"""From the words of a command line to the function that carries them out."""

import argparse
import difflib
import os
import select
import sys
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name

from sb3_qflex.cli.table import GROUPS, Command, Family
from sb3_qflex.common.version import VERSION

PROG = "sb3-qflex"
Groups = Mapping[str, Mapping[str, Command | Family]]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    :param argv: the command and its arguments, those of the process by default
    :return: exit code
    :raises SystemExit: with 2 for a command line that cannot be read, with the reason (so 1) for what cannot be done
    """
    words = sys.argv[1:] if argv is None else argv
    try:
        code = _run(PROG, GROUPS, words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        # It has what it wanted, such as `head`; without this the interpreter complains again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _reader_has_left() -> bool:
    """Whether it is the standard output that is broken, and no pipe of the command's own, to a worker say."""
    if not hasattr(select, "poll"):  # Windows, where such an output raises another error
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _run(prog: str, groups: Groups, words: Sequence[str]) -> int:
    if prog == PROG and list(words) == ["--version"]:
        print(PROG, VERSION)
        return 0
    parser = _parser(prog, groups)
    if not words:
        parser.error(f"which one? `{prog} --help` tells what each does")
    if words[0] in ("-h", "--help"):
        parser.print_help()
        return 0
    known = {name: one for group in groups.values() for name, one in group.items()}
    word, *rest = words
    if word not in known:
        near = difflib.get_close_matches(word, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        parser.error(f"Unknown command {word!r}.{hint} Known: {', '.join(known)}.")
    chosen = known[word]
    if isinstance(chosen, Family):
        return _run(f"{prog} {word}", {chosen.summary: chosen.members}, rest)
    return resolve_name(chosen.function)(f"{prog} {word}", rest) or 0


def _parser(prog: str, groups: Groups) -> argparse.ArgumentParser:
    """For its messages alone: a command's arguments are its own."""
    width = max(len(name) for group in groups.values() for name in group)
    lists = (
        "\n".join([f"{title}:", *(f"  {name:<{width}}  {one.summary}" for name, one in group.items())])
        for title, group in groups.items()
    )
    return argparse.ArgumentParser(
        prog,
        usage="%(prog)s COMMAND ...",
        description="\n\n".join(lists),
        epilog="Each has --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
