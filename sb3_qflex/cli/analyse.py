"""``sb3-qflex analyse NAME MODEL_OR_RUN ...``: an analysis of trained models as CSV, Markdown and PNG."""

import argparse
import ast
import shlex
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sb3_qflex.cli.arguments import positive, told

_DEFAULT = "(default: %(default)s)"
_CASES: dict[str, dict[str, Any]] = {
    "--episodes": {"type": positive, "default": 40, "help": f"of each case {_DEFAULT}"},
    "--stochastic": {"action": "store_true", "help": "start from a source sample, not from tanh(mean)"},
}
_STATES = {"type": positive, "help": f"visited states {_DEFAULT}"}
_POOL = {
    "--pool-seeds": {"action": "store_true", "help": "models that differ in a folder seed<k> alone are one case"},
}
_256_STATES = {"--states": {**_STATES, "default": 256}}
_COUNTS = {"type": positive, "nargs": "+"}
_NUMBERS = {"type": float, "nargs": "+"}

#: What each analysis takes besides what all take.
_OWN: dict[str, dict[str, dict[str, Any]]] = {
    "superiority": {"--states": {**_STATES, "default": 256, "help": f"states of each checkpoint {_DEFAULT}"}},
    "lag": {
        "--states": {**_STATES, "default": 2560},
        "--updates": {
            "type": int,
            "nargs": "+",
            "default": [0, 25, 50, 100, 200, 400, 800],
            "help": f"when to look {_DEFAULT}",
        },
    },
    "sensitivity": {
        **_CASES,
        **_256_STATES,
        "-K": {**_COUNTS, "default": [1, 2, 5, 10, 20, 40], "help": f"flow steps {_DEFAULT}"},
        "-N": {**_COUNTS, "default": [1, 5, 10, 20, 40], "help": f"guidance steps {_DEFAULT}"},
        "--eta": {**_NUMBERS, "default": [0.001, 0.003, 0.01, 0.03, 0.1], "help": f"guidance step sizes {_DEFAULT}"},
    },
    "exploration": {**_CASES, **_256_STATES},
    "partway": {
        **_CASES,
        **_256_STATES,
        "--times": {**_NUMBERS, "help": "flow times in [0, 1] (default: its quarters)"},
    },
    "correlation": {
        "--states": {**_STATES, "default": 64},
        "--samples": {"type": int, "default": 64, "help": f"noise samples at each state {_DEFAULT}"},
        "--groups": {
            "type": Path,
            "help": "YAML file: group: [patterns of actuator names], in place of the rule for names",
        },
        **_POOL,
    },
    "energy": {**_CASES, "--bins": {"type": positive, "default": 5, "help": f"of equal return {_DEFAULT}"}, **_POOL},
    "runtime": {
        "--seconds": {"type": float, "default": 10.0, "help": f"of timing in all {_DEFAULT}"},
        "--threads": {"type": positive, "default": 1, "help": f"of torch {_DEFAULT}"},
    },
}


def main(prog: str, argv: Sequence[str]) -> None:
    """Carry out one analysis, print its table and write its files."""
    name = prog.split()[-1]
    args = _parser(prog, name).parse_args(argv)
    from sb3_qflex.analysis import result

    folder = result.outputs(args.out, name)
    with told(OSError, ValueError):
        # Before computing, which may take long.
        folder.check(result.file_names(name))
        found = import_module(f"sb3_qflex.analysis.{name}").run(args)
        command = f"{prog} {shlex.join(argv)}"
        paths = result.write(found, folder, name, command)
    print(result.to_markdown(found, command, paths[2].name))
    print("Wrote", *paths)


def _parser(prog: str, name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog, description=_docstring(name), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    models = "run folder of RL Zoo, folder of such, model in one, or a zip elsewhere (with --env)"
    add("models", type=Path, nargs="+", metavar="MODEL_OR_RUN", help=models)
    add("--env", help="environment id, for a zip outside of a run folder")
    add("--algo", help="as RL Zoo names it, for a zip whose policy does not say it")
    add("--out", type=Path, default=Path("analysis"), help="folder for the files (default: %(default)s)")
    add("--seed", type=int, default=0, help="of episodes, states and noise (default: %(default)s)")
    add("--n-envs", type=positive, default=8, help="environments side by side (default: %(default)s)")
    for option, settings in _OWN[name].items():
        add(option, **settings)
    return parser


def _docstring(name: str) -> str | None:
    """What an analysis says of itself; importing it would take seconds."""
    spec = find_spec(f"sb3_qflex.analysis.{name}")
    assert spec is not None and spec.origin is not None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
