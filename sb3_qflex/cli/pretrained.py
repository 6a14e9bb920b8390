"""``sb3-qflex pretrained``: trained policies, as a list, one more of them, and their pages and pictures."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from sb3_qflex.cli.arguments import positive, told


def add_folder(parser: argparse.ArgumentParser) -> None:
    """``--folder``, by which policies elsewhere are named."""
    parser.add_argument(
        "--folder",
        type=Path,
        help="of trained policies (default: that of SB3_QFLEX_PRETRAINED, or those that come with the package)",
    )


def list_all(prog: str, argv: Sequence[str]) -> None:
    """Print what there is and what it does."""
    parser = argparse.ArgumentParser(prog, description="List trained policies: task, success, return, size.")
    add_folder(parser)
    args = parser.parse_args(argv)
    if args.folder is not None and not args.folder.is_dir():
        parser.error(f"--folder {args.folder}: there is no such folder")
    from sb3_qflex.gallery.pages import rows_of
    from sb3_qflex.pretrained.index import Collection

    with told(ValueError):
        print(rows_of(Collection(args.folder).entries.values()))


def add(prog: str, argv: Sequence[str]) -> None:
    """Add a run's policy and print its row."""
    parser = argparse.ArgumentParser(
        prog,
        description="Add the policy of a trained run: policy file and ONNX, an evaluation from the file in the plain "
        "loop of the task (one environment, predict at every step), and an entry of the index. Models are pickles: add "
        "only those you trust.",
    )
    option = parser.add_argument
    option("run", type=Path, metavar="RUN", help="run folder of RL Zoo, or a model's zip file")
    option("--id", required=True, help="its name, such as pen-twirl")
    option("--folder", type=Path, help="of policies (default: the package's own, in this checkout)")
    option("--env", metavar="ID", help="environment; a zip file that is in no run folder needs it")
    option("--env-kwargs", nargs="*", default=["{}"], metavar="'NAME: VALUE'", help="arguments of the environment")
    option("--vec-normalize", type=Path, metavar="FILE", help="statistics, for such a zip file")
    option("--command", help="that trained it, as others can type it (default: the run's command.txt)")
    option("--cpu-minutes", type=float, help="that the training took (default: what its study measured)")
    option("--storage", choices=("float16", "float32"), default="float16", help="of matrices (default: %(default)s)")
    option("--report", default="", metavar="PAGE", help="with the training's curves, such as results/pen/report.md")
    option("--camera", default="", metavar="NAME", help="of the MuJoCo model, for its picture")
    option("--episodes", type=positive, default=100, help="of the evaluation (default: %(default)s)")
    option("--seed", type=int, default=10_000, help="of its first episode (default: %(default)s)")
    option("--overwrite", action="store_true", help="replace a policy of that name")
    args = parser.parse_args(argv)
    from sb3_qflex.gallery.adding import Request
    from sb3_qflex.gallery.adding import add as add_run
    from sb3_qflex.gallery.pages import rows_of
    from sb3_qflex.pretrained.index import HOME

    values = vars(args)
    values["environment"] = values.pop("env")
    values["env_kwargs"] = yaml.safe_load("\n".join(args.env_kwargs))
    values["folder"] = args.folder or HOME
    with told(ValueError, ImportError, OSError):
        print(rows_of([add_run(Request(**values))]))


def table(prog: str, argv: Sequence[str]) -> None:
    """Write the pages from the index and print which changed."""
    parser = argparse.ArgumentParser(
        prog, description="Write tables and pictures' places in README.md, docs/index.md and docs/pretrained.md."
    )
    add_folder(parser)
    _add_root(parser)
    args = parser.parse_args(argv)
    with told(ValueError):
        _write_pages(args)


def gallery(prog: str, argv: Sequence[str]) -> None:
    """Record a GIF of each policy that does its task, then write the pages."""
    parser = argparse.ArgumentParser(
        prog, description="Record a GIF of each policy, at most 1 MB, in docs/gallery, and write the pages with them."
    )
    parser.add_argument("--ids", nargs="+", metavar="ID", help="only these")
    add_folder(parser)
    _add_root(parser)
    args = parser.parse_args(argv)
    from sb3_qflex.watch.camera import use_egl_without_a_screen

    use_egl_without_a_screen()
    from sb3_qflex.gallery.pages import GALLERY
    from sb3_qflex.gallery.pictures import write_gif
    from sb3_qflex.pretrained.index import Collection

    with told(ValueError, ImportError, OSError):
        found = Collection(args.folder)
        for entry in map(found.find, args.ids or found.entries):
            if not entry.succeeds:
                print(f"{entry.id}: no picture, it does not do its task")
                continue
            path = args.root / GALLERY / f"{entry.id}.gif"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_gif(entry, args.folder, path)
            print(f"GIF: {path} ({path.stat().st_size / 1000:.0f} kB)")
        _write_pages(args)


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=Path(), help="of the repository (default: here)")


def _write_pages(args: argparse.Namespace) -> None:
    from sb3_qflex.gallery.pages import write_pages
    from sb3_qflex.pretrained.index import Collection

    changed: list[object] = [*write_pages(args.root, Collection(args.folder).entries)]
    print("Written:", *changed or ("nothing, all pages are as the index",))
