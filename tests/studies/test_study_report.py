"""The report of a study: small data from runs, and everything else from those data."""

import csv
import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.places import DOCS
from helpers.study_runs import STUDY, fake_plan, study_file

from sb3_qflex.cli import main as command
from sb3_qflex.cli import study as study_command
from sb3_qflex.common.outputs import ForeignFileError
from sb3_qflex.studies.definition import Study, StudyError, load_study
from sb3_qflex.studies.extraction import EVALUATIONS, RUNS, SETTINGS, TRAINING, extract, steps_at_ends
from sb3_qflex.studies.report import REPORT, write_report
from sb3_qflex.studies.results import RunResult, read_results
from sb3_qflex.studies.run_folder import RunFolder
from sb3_qflex.studies.runner import Runner

COMMITTED = DOCS / "results"

metrics = pytest.importorskip("rliable.metrics", reason="needs the extra 'study': pip install sb3-qflex[study]")
from matplotlib.figure import Figure  # noqa: E402

from sb3_qflex.studies import pictures  # noqa: E402
from sb3_qflex.studies.pictures import draw_study, palette, varies_actions  # noqa: E402
from sb3_qflex.studies.statistics import difference, improvement, interquartile_mean  # noqa: E402
from sb3_qflex.studies.tables import to_markdown  # noqa: E402


def data(*runs: tuple[str, str, int], returns: Sequence[float] = (0.0, 4.0), budget: int = 100) -> dict[str, bytes]:
    """Data of runs (task, label, seed), each with the returns plus its seed."""
    rows = [f"{task},{label},{seed}" for task, label, seed in runs]
    facts = "algo,budget,steps,environments,updates,training seconds,environment seconds,acting seconds,buffer seconds"
    facts += ",update seconds,evaluation seconds,other seconds,starts,finished,revision,dirty,runs at a time,processor"
    values = f"qflex,{budget},{budget},2,7,70,1,2,3,4,10,0,1,2026-01-02T00:00:00,abc,False,2,p"
    evaluations = [
        f"{row},{(number + 1) * budget // len(returns)},{30 * number},2,{value + int(row[-1])},0,50,0.5"
        for row in rows
        for number, value in enumerate(returns)
    ]
    training = [
        f"{row},{steps},{episodes},{steps},0,50" for row in rows for steps, episodes in ((50, 1), (92, 1), (100, 3))
    ]
    head, columns = "task,label,seed", "return mean,return std,length mean"
    lines = {
        RUNS: [f"{head},{facts},cores,memory,system,versions", *(f"{row},{values},2,m,s,v" for row in rows)],
        EVALUATIONS: [f"{head},steps,training seconds,episodes,{columns},success rate", *evaluations],
        TRAINING: [f"{head},steps,episodes,{columns}", *training],
        SETTINGS: ["{}"],
    }
    return {name: "\n".join([*content, ""]).encode() for name, content in lines.items()}


BOTH = [("chain", label, seed) for label in ("qflex", "crossq (fast)") for seed in (0, 1)]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_file(tmp_path)


def only_run(study: Study, **kwargs: object) -> RunResult:
    (run,) = read_results(study, data(BOTH[0], **kwargs)).runs  # type: ignore[arg-type]
    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty figures: the intervals along their curves take most of the time of a report."""
    monkeypatch.setattr(pictures, "_draw_task", lambda *_: Figure())
    monkeypatch.setattr(pictures, "_draw_scale", lambda *_: Figure())


REPORTED = sorted({"quick", *(path.parent.name for path in COMMITTED.glob(f"*/{REPORT}"))})
#: The most runs and tasks.
LARGE = {"chain", "diffusion", "muscles"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in REPORTED]
)
def test_the_committed_report_follows_from_the_committed_data(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not COMMITTED.is_dir():
        pytest.skip("needs docs/results of the repository")
    # The shortest study draws its figures.
    if name != "quick":
        request.getfixturevalue("undrawn")
    out = tmp_path / name
    shutil.copytree(COMMITTED / name, out)
    (out / REPORT).unlink()
    write_report(load_study(name), out)
    assert (out / REPORT).read_bytes() == (COMMITTED / name / REPORT).read_bytes()


def test_a_legend_of_long_names_fits_below_the_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    if not COMMITTED.is_dir():
        pytest.skip("needs docs/results of the repository")
    drawn: list[Figure] = []
    monkeypatch.setattr(pictures, "_png", lambda figure: drawn.append(figure) or b"")
    monkeypatch.setattr(pictures, "_draw_lines", lambda axes, _, colour, name: axes.plot([0], color=colour, label=name))
    files = {name: (COMMITTED / "torso" / name).read_bytes() for name in (RUNS, EVALUATIONS, TRAINING, SETTINGS)}
    draw_study(read_results(load_study("torso"), files))
    (figure,) = drawn
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(legend.get_texts()) > 4
    assert figure.bbox.x0 <= legend.get_window_extent().x0
    assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_data_of_runs(tmp_path: Path) -> None:
    runs = [RunFolder(fake_plan(seed), tmp_path) for seed in (1, 0)]
    Runner(runs, 2).run()
    files = extract(runs)
    lines = {name: content.decode().splitlines() for name, content in files.items()}
    assert lines[EVALUATIONS] == [
        "task,label,seed,steps,training seconds,episodes,return mean,return std,length mean,success rate",
        "chain,qflex,0,50,1.5,2,1,1,50,",
        "chain,qflex,0,100,4,2,6,2,50,",
        "chain,qflex,1,50,1.5,2,1,1,50,",
        "chain,qflex,1,100,4,2,6,2,50,",
    ]
    assert lines[TRAINING][1:3] == ["chain,qflex,0,50,1,-3,0,50", "chain,qflex,0,100,1,-1,0,50"]
    assert [line.split(",")[:8] for line in lines[RUNS][1:]] == [
        ["chain", "qflex", seed, "qflex", "100", "100", "2", "7"] for seed in "01"
    ]
    # Where the runs lay is no part of the data.
    assert str(tmp_path) not in files[SETTINGS].decode()
    assert extract(list(reversed(runs))) == files


def test_training_returns_of_a_run_that_lost_episodes(tmp_path: Path) -> None:
    run = RunFolder(fake_plan(), tmp_path)
    Runner([run], 1).run()
    record = run.done()
    assert record is not None
    zoo = run.path / record["zoo folder"]
    # Killed after 60 steps, 20 of them in an episode that is lost; another one ends 40 steps later.
    (zoo / "000000000060.0.monitor.csv").write_text('#{"t_start": 0.0}\nr,l,t\n-3.0,40,1.0\n')
    (zoo / "0.monitor.csv").write_text('#{"t_start": 5.0}\nr,l,t\n-1.0,40,2.0\n')
    (run.path / "done.json").write_text(json.dumps({**record, "episodes cut at": [60]}))
    lines = extract([run])[TRAINING].decode().splitlines()
    assert lines[1:] == ["chain,qflex,0,40,1,-3,0,40", "chain,qflex,0,100,1,-1,0,40"]


def test_steps_at_the_ends_of_episodes() -> None:
    lengths = np.array([10, 20, 30, 40])
    assert steps_at_ends(lengths, {}).tolist() == [10, 30, 60, 100]
    assert steps_at_ends(lengths, {85: 3, 45: 2}).tolist() == [10, 30, 75, 125]
    # Before the first episode has ended, and after the last.
    assert steps_at_ends(lengths, {5: 0, 200: 4}).tolist() == [15, 35, 65, 105]


def test_scores_of_a_run_by_hand(study: Study) -> None:
    run = only_run(study, returns=[-6.0, 0.0, 4.0, 8.0])
    # Evaluations at 25, 50, 75 and 100 steps; only the last one lies in the last tenth.
    assert run.final("return mean") == 8.0
    assert run.area() == pytest.approx((-3 + 2 + 6) / 3)
    assert (run.steps_to(4.0), run.steps_to(9.0)) == (75.0, math.inf)
    # One episode of return 92 and three of return 100 after 90 steps.
    assert run.final_training() == 98.0
    assert only_run(study, returns=[0.0] * 19 + [4.0]).final("return mean") == 2.0
    assert only_run(study, returns=[3.0]).area() == 3.0


def test_interquartile_mean_and_interval() -> None:
    scores = [0.0, 1.0, 2.0, 3.0, 100.0]
    state = np.random.get_state()[1].tolist()
    estimate = interquartile_mean(scores)
    assert np.random.get_state()[1].tolist() == state
    assert (float(estimate.value), estimate.runs) == (2.0, 5)
    assert estimate.low is not None and estimate.high is not None
    assert 0.0 <= estimate.low < 2.0 < estimate.high <= 100.0
    # The same numbers each time, and no interval that five runs would be needed for.
    assert interquartile_mean(scores) == estimate
    few = interquartile_mean(scores[:4])
    assert (few.low, few.high) == (None, None)
    curve = interquartile_mean(np.stack([np.array(scores), np.ones(5), [1.0, 1.0, 1.0, 1.0, np.nan]], axis=1))
    assert curve.value[:2].tolist() == [2.0, 1.0] and curve.low is not None and curve.low[1] == 1.0
    # A run without a value is not left out in silence.
    assert np.isnan(curve.value[2])


def test_estimates_are_those_of_rliable() -> None:
    draw = np.random.default_rng(0)
    for runs in (3, 4, 5, 9):
        ours, theirs = draw.integers(0, 6, (2, runs, 1)).astype(float)
        assert float(interquartile_mean(ours[:, 0]).value) == pytest.approx(metrics.aggregate_iqm(ours))
        expected = metrics.probability_of_improvement(ours, theirs)
        assert float(improvement(ours[:, 0], theirs[:, 0]).value) == pytest.approx(expected)


def test_a_difference_is_one_of_interquartile_means_with_an_interval_around_it() -> None:
    low, high = [0.0, 1.0, 2.0, 3.0, 100.0], [10.0, 11.0, 12.0, 13.0, -100.0]
    found = difference(high, low)
    assert float(found.value) == pytest.approx(11.0 - 2.0)
    assert found.low < found.value < found.high
    reverse = difference(low, high)
    assert float(reverse.value) == pytest.approx(-9.0)
    assert difference(high, low[:3]).low is None


def test_probability_of_improvement() -> None:
    low, high = [0.0, 1.0, 2.0, 3.0, 4.0], [10.0, 11.0, 12.0, 13.0, 14.0]
    assert float(improvement(high, low).value) == 1.0
    even = improvement(low, [*low[:-1], 5.0])
    # 10 of 25 pairs are won and 4 are ties.
    assert float(even.value) == pytest.approx((10 + 0.5 * 4) / 25)
    assert even.low is not None and even.high is not None and even.low < 0.48 < even.high
    assert improvement(high, low[:3]).low is None


def test_report_of_a_part_of_a_study(study: Study) -> None:
    results = read_results(study, data(*BOTH[:3]))
    markdown = to_markdown(results, {"chain": "chain.png"})
    assert "**1 of 4 runs are missing:** chain/crossq_fast/seed1." in markdown
    assert "![Learning curves of chain](chain.png)\n\nSeeds: qflex 2, crossq (fast) 1." in markdown
    assert re.search(r"^\| qflex \| 2 \| 4.5 \| 98 \| 2.5 \| 0.5 \| 7 \| 1 \|$", markdown, re.MULTILINE)
    assert re.search(r"^\| crossq \(fast\) \| 2 against 1 \| 0.75 \| -?[0-9.]+ \|$", markdown, re.MULTILINE)
    every_run = markdown.partition("Every run:")[2]
    assert [line.split(" | ")[:2] for line in every_run.splitlines()[4:7]] == [
        ["| qflex", "0"],
        ["| qflex", "1"],
        ["| crossq (fast)", "0"],
    ]
    assert "[" not in markdown.partition("Seeds:")[2], "an interval with fewer than five seeds"


def test_a_report_says_why_a_training_return_is_missing(study: Study) -> None:
    said = "Where *training* is empty, no training episode ended in the last tenth of the budget."
    files = data(*BOTH)
    assert said not in to_markdown(read_results(study, files), {"chain": "chain.png"})
    early = [line for line in files[TRAINING].decode().splitlines() if line.split(",")[3] in ("steps", "50")]
    files[TRAINING] = "\n".join([*early, ""]).encode()
    markdown = to_markdown(read_results(study, files), {"chain": "chain.png"})
    assert "| qflex | 2 | 4.5 |  | 2.5 |" in markdown and said in markdown


def test_times_under_different_systems_are_kept_apart(study: Study) -> None:
    alike = data(*BOTH)
    lines = alike[RUNS].decode().replace(",70,1,2,", ",130,9,2,", 1).replace(",m,s,v", ",m,slow,v", 1)
    results = read_results(study, {**alike, RUNS: lines.encode()})
    report = to_markdown(results, {"chain": "chain.png"})
    assert "Runs were made under 2 systems" in report and "| system | 1: s; 2: slow |" in report
    assert "| 7 | 1 (1), 2 (2) |" in report and "| 7 | 1 (1) |" in report
    assert "| qflex (1) | 10 |" in report and "| qflex (2) | 90 |" in report and "| crossq (fast) (2) |" not in report
    last = [
        line.split("|")[-2].strip() for line in report.splitlines() if re.match(r"\| \S+( \(fast\))? \| [01] ", line)
    ]
    assert last == ["2", "1", "1", "1"]
    one = to_markdown(read_results(study, alike), {"chain": "chain.png"})
    assert "systems" not in one and "(1)" not in one and "| starts |" in one


def test_curves_against_time_are_of_one_system(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(pictures, "_png", lambda figure: drawn.append(figure) or b"")
    files = data(*BOTH)
    lines = files[RUNS].decode().replace(",m,s,v", ",m,slow,v", 1)
    draw_study(read_results(study, {**files, RUNS: lines.encode()}))
    evaluation, _, clock, _ = drawn[0].axes
    # Of each algorithm a line for each run and one for their mean.
    assert (len(evaluation.lines), len(clock.lines)) == (6, 5)
    assert clock.get_title() == "Evaluation against time, system 1 alone"


def test_five_seeds_have_intervals(tmp_path: Path) -> None:
    study = study_file(tmp_path, STUDY.replace("seeds: 2", "seeds: 5").replace("actions: 3", "threshold: 7"))
    markdown = to_markdown(
        read_results(study, data(*((task, label, seed) for task, label, _ in BOTH[::2] for seed in range(5)))),
        {"chain": "chain.png"},
    )
    (row,) = re.findall(r"^\| qflex \| 5 \| (.*) \|$", markdown, re.MULTILINE)
    cells = row.split(" | ")
    assert re.fullmatch(r"6 \[\d\.?\d*, \d\.?\d*\]", cells[0])
    # Returns 4 to 8: two of five runs reach 7.
    assert cells[4] == "not reached (2 of 5 runs)"


def test_what_the_paper_shows_stands_in_the_report(tmp_path: Path) -> None:
    study = study_file(tmp_path, STUDY.replace("actions: 3", "paper: About 100, read off with an error of 20."))
    markdown = to_markdown(read_results(study, data(*BOTH)), {"chain": "chain.png"})
    assert "**What the paper's figures show.** About 100, read off with an error of 20." in markdown


def test_different_budgets_are_not_compared(study: Study) -> None:
    with pytest.raises(StudyError, match="chain/qflex/seed0 has a budget of 200 steps, the study tiny one of 100"):
        read_results(study, data(BOTH[0], budget=200))


def test_data_of_another_study(study: Study) -> None:
    with pytest.raises(StudyError, match="chain/qflex/7 is no run of the study tiny"):
        read_results(study, data(("chain", "qflex", 7)))


def made(root: Path, study: Study, *seeds: int) -> Path:
    """A folder with finished runs of the tiny study."""
    Runner([RunFolder(fake_plan(seed, **own_fields(study)), root) for seed in seeds], 1).run()
    return root


@pytest.mark.usefixtures("undrawn")
def test_runs_of_several_machines_make_one_report(study: Study, tmp_path: Path) -> None:
    out, together = tmp_path / "out", tmp_path / "together"
    for number, seed in enumerate((1, 0)):
        write_report(study, out, made(tmp_path / f"machine{number}", study, seed))
    assert "2 of 4 runs are missing" in (out / REPORT).read_text()
    write_report(study, together, made(tmp_path / "both", study, 0, 1))
    runs = [folder.joinpath("evaluations.csv").read_bytes() for folder in (out, together)]
    assert runs[0] == runs[1]
    identities = [[row[:3] for row in csv.reader((out / "runs.csv").open())] for out in (out, together)]
    assert identities[0] == identities[1] == [["task", "label", "seed"], *(["chain", "qflex", seed] for seed in "01")]

    before = (out / REPORT).read_bytes()
    write_report(study, out)
    assert (out / REPORT).read_bytes() == before
    (out / REPORT).write_text("edited")
    with pytest.raises(ForeignFileError, match=r"edited since: report\.md"):
        write_report(study, out)


@pytest.mark.usefixtures("undrawn")
def test_runs_with_other_settings_are_not_added(study: Study, tmp_path: Path) -> None:
    write_report(study, tmp_path / "out", made(tmp_path / "first", study, 0))
    settings = tmp_path / "out" / "settings.json"
    settings.write_text(settings.read_text().replace('"n_envs": 2', '"n_envs": 3'))
    with pytest.raises(StudyError, match=r"chain/qflex: the report has runs with other settings \(hyperparameters: "):
        write_report(study, tmp_path / "out", made(tmp_path / "second", study, 1))


@pytest.mark.usefixtures("undrawn")
def test_reported_runs_are_left_out(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "tiny.yml", tmp_path / "out"
    write_report(study, out, made(tmp_path / "runs", study, 1))

    def listed(*words: str) -> list[str]:
        command.main(["study", "run", str(file), "--dry-run", "--out", str(tmp_path / "new"), *words])
        return [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]

    assert listed("--reported", str(out)) == ["chain/qflex/seed0", "chain/crossq_fast/seed0", "chain/crossq_fast/seed1"]
    assert listed("--only", "chain/qflex/*", "--reported", str(out)) == ["chain/qflex/seed0"]
    assert listed("--only", "*/seed1") == ["chain/qflex/seed1", "chain/crossq_fast/seed1"]
    assert listed("--only", "chain/qflex/*", "--only", "*/seed1") == [
        "chain/qflex/seed0",
        "chain/qflex/seed1",
        "chain/crossq_fast/seed1",
    ]
    with pytest.raises(SystemExit, match=r"--only pen/\*: no run of .* has such a name"):
        listed("--only", "pen/*")
    with pytest.raises(SystemExit, match="new has no report of a study"):
        listed("--reported", str(tmp_path / "new"))


def own_fields(study: Study) -> dict[str, object]:
    """What makes the fake run one of the study's."""
    from sb3_qflex.studies.plan import plan_runs

    return {key: value for key, value in vars(plan_runs(study)[0]).items() if key not in ("seed",)}


def test_nothing_to_report(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudyError, match=r"has no runs\.csv, .*--runs runs/tiny"):
        write_report(study, tmp_path / "out")
    (tmp_path / "runs").mkdir()
    with pytest.raises(StudyError, match="no run of tiny is finished"):
        write_report(study, tmp_path / "out", tmp_path / "runs")
    monkeypatch.setattr(study_command, "load_study", lambda name: study)
    with pytest.raises(SystemExit, match="nowhere is no folder of runs"):
        command.main(["study", "report", "tiny", "--runs", str(tmp_path / "nowhere")])


@pytest.mark.parametrize(
    ("success", "lengths", "column"),
    [
        ([0.0, 0.5], [50, 50], "success rate"),
        ([np.nan, np.nan], [50, 60], "length mean"),
        ([0.0, 0.0], [50, 60], "length mean"),
        ([0.0, 0.0], [50, 50], None),
    ],
)
def test_the_fourth_panel_has_something_to_show(success: list, lengths: list, column: str | None) -> None:
    evaluations = {"success rate": np.array(success), "length mean": np.array(lengths)}
    panel = pictures._last_panel([RunResult("task", "label", 0, {}, evaluations, {})])
    assert (panel and panel[0]) == column


@pytest.mark.parametrize("size", [1, 10, 11, 40])
def test_every_algorithm_has_a_colour_of_its_own(size: int) -> None:
    assert len(set(palette(size))) == size


def test_figures(study: Study, tmp_path: Path) -> None:
    drawn = draw_study(read_results(study, data(*BOTH)))
    assert [name for name, _ in drawn.values()] == ["chain.png"]
    second = "tasks:\n  longer: {env: PlanarChain-v0, env_kwargs: {n_links: 30}, actions: 30}"
    scale = study_file(tmp_path, STUDY.replace("tasks:", second))
    assert varies_actions(scale) and not varies_actions(study)
    results = read_results(scale, data(*BOTH, ("longer", "qflex", 0)))
    drawn = draw_study(results)
    assert [name for name, _ in drawn.values()] == ["scale.png", "longer.png", "chain.png"]
    assert all(png.startswith(b"\x89PNG") for _, png in drawn.values())
    markdown = to_markdown(results, {task: name for task, (name, _) in drawn.items()})
    assert "| 30 | 4 |  |\n| 3 | 4.5 | 4.5 |" in markdown
