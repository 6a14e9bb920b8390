"""Which commands there are, in groups, and the function behind each."""

from collections.abc import Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """
    A line about it, and its ``module:function``, imported when it runs.

    That takes the words before the arguments, such as "sb3-qflex study run", by which its parser calls itself, and the
    arguments. It returns the exit code, None for 0.
    """

    summary: str
    function: str


class Family(NamedTuple):
    """A line about it, and its commands by the word after its name."""

    summary: str
    members: Mapping[str, Command]


def _ours(summary: str, function: str) -> Command:
    return Command(summary, f"sb3_qflex.cli.{function}")


_ANALYSES = {
    "superiority": "share of states where the flow's action has the larger Q, over training",
    "lag": "how far the velocity field is behind its critics",
    "sensitivity": "return by flow steps K, flow target by guidance steps N and step size",
    "exploration": "flow against source-only actions and gradient ascent",
    "partway": "actions taken part-way along the flow",
    "correlation": "correlation of the exploration noise across actuators",
    "energy": "muscle activation energy, over all episodes and at equal return",
    "runtime": "training time, and the time of one step of inference",
}
GROUPS: Mapping[str, Mapping[str, Command | Family]] = {
    "RL Zoo's own, with the algorithms, environments and hyperparameters of this package": {
        "train": _ours("train an agent, or tune its hyperparameters", "zoo:main"),
        "enjoy": _ours("let a trained agent act", "zoo:main"),
        "plot_train": _ours("draw training curves of run folders", "zoo:main"),
        "plot_from_file": _ours("draw what all_plots saved", "zoo:main"),
        "all_plots": _ours("draw evaluations of several algorithms and environments", "zoo:main"),
    },
    "Compare and look": {
        "compare": _ours("train algorithms side by side: one figure, one table", "compare:main"),
        "evaluate": _ours("return and success of trained models over many episodes", "evaluate:main"),
        "curve": _ours("draw one run's learning curve", "curve:main"),
        "watch": _ours("record episodes of a trained model as a video", "watch:main"),
        "run-report": _ours("one HTML page about a training run", "run_report:main"),
        "analyse": Family(
            "the paper's analyses of trained models",
            {name: _ours(summary, "analyse:main") for name, summary in _ANALYSES.items()},
        ),
    },
    "Take a model elsewhere": {
        "pretrained": Family(
            "trained policies that come with the package, or lie in a folder of yours",
            {
                "list": _ours("what there is, and what each does in its task", "pretrained:list_all"),
                "add": _ours("export, evaluate and enter the policy of a run", "pretrained:add"),
                "table": _ours("write the documentation's tables from the index", "pretrained:table"),
                "gallery": _ours("record a GIF of each, and write the pages with them", "pretrained:gallery"),
            },
        ),
        "export": _ours("write a trained policy as ONNX, TorchScript, or a file that is safe to open", "export:main"),
        "push-to-hub": _ours("share a run on the Hugging Face Hub", "hub:push"),
        "load-from-hub": _ours("download a shared run", "hub:load"),
    },
    "Measure": {
        "study": Family(
            "experiments of several tasks, algorithms and seeds",
            {
                "run": _ours("make the runs that are not there yet", "study:run"),
                "report": _ours("tables and figures of the runs that are there", "study:report"),
            },
        ),
        "speed": _ours("how fast QFlex is on this machine", "speed:main"),
        "envs": Family(
            "the environments",
            {
                "list": _ours("which ids there are, and which can be made here", "envs:list_ids"),
                "speed": _ours("their steps per second beside MuJoCo alone", "envs:speed"),
            },
        ),
    },
    "Muscles": {
        "synergies": _ours("groups of muscles that move together, for SynergyActions and DynSyn", "synergies:main"),
    },
    "This installation": {
        "doctor": _ours("what works here, what is missing, and the line that installs it", "doctor:main"),
    },
}

COMMANDS: Mapping[str, Command | Family] = {name: one for group in GROUPS.values() for name, one in group.items()}
