"""The report from given numbers, and what it may replace in a folder."""

import csv
import json

import pytest

from sb3_qflex.common.outputs import ForeignFileError, OutputFolder
from sb3_qflex.speed import figures
from sb3_qflex.speed.loop_timer import PARTS
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.report import Report, format_number, to_csv, to_dict, to_markdown


@pytest.fixture
def section():
    section = Section("flow", "Flow target", "What was compared.")
    section.add("1 / 2", "folded", [1.0, 2.0, 3.0, 4.0, 5.0], "ms")
    section.add("1 / 2", "FLOP ratio", 1234.5)
    section.add("3 / 4", "folded", [20.0], "ms")
    section.add("3 / 4", "FLOP ratio", 0.00123)
    section.add("|A| = 5", "plain", [0.5, 0.5], "ms")
    section.skipped.append("the moon: not installed")
    return section


@pytest.fixture
def report(section):
    return Report("Speed", "the command --quick", {"cores": "2"}, {"torch": "1.0", "numpy": "2.0"}, [section])


def test_markdown_has_medians_with_quartiles_and_one_table_per_set_of_columns(report):
    text = to_markdown(report, {"flow": "flow.png"})
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("\n\n")]
    run, sizes, actions = [table for table in tables if table]
    assert "| command | `the command --quick` |" in run
    assert "| cores | 2 |" in run
    assert "| versions | torch 1.0, numpy 2.0 |" in run
    assert sizes == [
        "|  | folded [ms] | FLOP ratio |",
        "| --- | --- | --- |",
        "| 1 / 2 | 3 (2 to 4) | 1234 |",
        "| 3 / 4 | 20 | 0.00123 |",
    ]
    assert actions == ["|  | plain [ms] |", "| --- | --- |", r"| \|A\| = 5 | 0.5 (0.5 to 0.5) |"]
    assert "Skipped: the moon: not installed." in text
    assert "![Flow target](flow.png)" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.012345, "0.0123"), (2.5, "2.5"), (99.94, "99.9"), (12345.6, "12346"), (-250.0, "-250")],
)
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert format_number(value) == text


def test_csv_and_json_hold_every_figure(report):
    rows = list(csv.DictReader(to_csv(report).splitlines()))
    assert len(rows) == 5
    assert rows[0] == {
        "rows": "flow", "case": "1 / 2", "quantity": "folded", "unit": "ms",
        "lower_quartile": "2.0", "median": "3.0", "upper_quartile": "4.0", "samples": "5",
    }  # fmt: skip
    data = json.loads(json.dumps(to_dict(report)))
    assert (data["command"], data["machine"], data["versions"]["torch"]) == (
        "the command --quick",
        {"cores": "2"},
        "1.0",
    )
    (found,) = data["sections"]
    assert found["skipped"] == ["the moon: not installed"]
    assert found["measurements"][0]["samples"] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert found["measurements"][0]["quartiles"] == [2.0, 3.0, 4.0]


def test_a_figure_that_was_not_measured_is_an_error(section):
    assert section.find("1 / 2", "folded").median == 3.0
    with pytest.raises(KeyError, match="no 'nothing' for '1 / 2'"):
        section.find("1 / 2", "nothing")


def growth_section():
    section = Section("growth", "Growth", "")
    for n in (10, 20):
        section.add(f"|A| = {n}", "update", [1.0 * n, 1.1 * n], "ms", x=float(n))
    section.add("line in |A|", "update, intercept", 0.5, "ms")
    section.add("line in |A|", "update, slope", 1.0, "ms")
    return section


def loop_section():
    section = Section("loop", "Loop", "")
    for number, part in enumerate(PARTS):
        section.add("Dummy", part, [1.0 + number], "ms")
    return section


def bars_section():
    section = Section("flow", "Flow target", "")
    for quantity in ("folded", "plain"):
        section.add("1 / 2", quantity, [1.0, 2.0], "ms")
    return section


@pytest.mark.parametrize("make", [growth_section, loop_section, bars_section])
def test_figures_are_png(make):
    png = figures.draw(make())
    assert png is not None and png.startswith(b"\x89PNG")


def test_the_growth_figure_shows_points_and_the_given_line():
    (axes,) = figures._draw_growth(growth_section()).axes
    (line,) = [one for one in axes.lines if one.get_label().startswith("update")]
    assert line.get_label() == "update: 0.5 + 1 |A|"
    assert line.get_xydata().tolist() == [[0.0, 0.5], [20.0, 20.5]]


def test_nothing_measured_nothing_drawn():
    assert figures.draw(Section("loop", "Loop", "")) is None


def test_own_files_are_replaced_and_left_overs_removed(tmp_path):
    folder = tmp_path / "new" / "speed"
    OutputFolder(folder, "speed").write({"speed.md": b"1", "speed-flow.png": b"2"}, {"title": "first"})
    written = OutputFolder(folder, "speed").write({"speed.md": b"3"}, {"title": "second"})
    assert {path.name for path in written} == {path.name for path in folder.iterdir()} == {"speed.md", "speed.json"}
    assert (folder / "speed.md").read_bytes() == b"3"
    assert json.loads((folder / "speed.json").read_text())["title"] == "second"


@pytest.mark.parametrize("name", ["speed.md", "speed.json"])
def test_files_of_others_are_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    outputs = OutputFolder(tmp_path, "speed")
    with pytest.raises(ForeignFileError, match=name):
        outputs.write({"speed.md": b"1"}, {})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_an_edited_file_is_refused_and_an_edited_left_over_stays(tmp_path):
    OutputFolder(tmp_path, "speed").write({"speed.md": b"1", "speed.csv": b"2"}, {})
    (tmp_path / "speed.md").write_text("edited")
    with pytest.raises(ForeignFileError, match=r"speed\.md"):
        OutputFolder(tmp_path, "speed").check(["speed.md", "speed.csv"])
    OutputFolder(tmp_path, "speed").write({"speed.csv": b"3"}, {})
    assert (tmp_path / "speed.md").read_text() == "edited"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "speed").write_text("mine")
    with pytest.raises(NotADirectoryError, match="--out"):
        OutputFolder(tmp_path / "speed", "speed").check([])
