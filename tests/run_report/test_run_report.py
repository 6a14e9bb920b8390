"""``sb3-qflex run-report``: numbers of the run's files in one page that needs nothing else."""

import base64
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.zoo_runs import EVALUATIONS, RETURNS, write_run

from sb3_qflex.analysis.trained import ModelError
from sb3_qflex.cli import main as command
from sb3_qflex.run_report import figures
from sb3_qflex.run_report.files import read_run

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Collects what a browser would load, and checks that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.titles: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        found = dict(attrs)
        self.loads += [value for name in ("src", "srcset", "data") if (value := found.get(name))]
        if tag == "a":
            self.links.append(str(found["href"]))
        elif found.get("href"):
            self.loads.append(str(found["href"]))
        if tag == "img":
            self.titles.append(str(found["alt"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("report") / "logs")


@pytest.fixture(scope="module")
def page(run_folder: Path) -> Page:
    (run_folder / "watch_1.mp4").touch()
    command.main(["run-report", str(run_folder), "--episodes", "2", "--states", "4"])
    return Page((run_folder / "report.html").read_text())


def test_page_is_whole_and_loads_nothing(page: Page) -> None:
    assert page.open == []
    assert page.loads and all(load.startswith("data:image/svg+xml;base64,") for load in page.loads)
    assert "script" not in page.open and "@import" not in "".join(page.text)
    for load in page.loads:
        picture = ElementTree.fromstring(base64.b64decode(load.partition(",")[2]))
        assert picture.tag == "{http://www.w3.org/2000/svg}svg"
        for element in picture.iter():
            references = [value for name, value in element.attrib.items() if name.endswith("href")]
            assert all(reference.startswith(("#", "data:")) for reference in references)


def test_page_has_a_figure_for_everything_the_files_have(page: Page) -> None:
    assert page.titles == [
        "Return",
        "Success",
        "Flow superiority",
        "Losses",
        "Correlation of the exploration noise",
        "Energy",
    ]


def test_numbers_are_those_of_the_files(page: Page) -> None:
    text = " ".join(page.text)
    for words in ("1,000", "mean of the last 20 episodes", "20 training episodes", "over 2 episodes, step 600"):
        assert words in text
    means = np.mean(EVALUATIONS, axis=1)
    numbers = {"Training return": np.mean(RETURNS), "Last evaluation": means[-1], "Best evaluation": means.max()}
    for name, value in numbers.items():
        assert float(page.text[page.text.index(name) + 1]) == pytest.approx(value, abs=0.05)
    assert page.text[page.text.index("Success rate") + 1] == "50%"
    assert page.text[page.text.index("Flow superiority") + 1] == "0.5"
    last = page.text.index("train/flow_superiority")
    assert page.text[last + 1] == "0.75"


def test_what_the_run_says_of_itself_is_shown_as_text(page: Page) -> None:
    assert "sb3-qflex train --algo qflex '<script>'" in page.text
    assert page.text[page.text.index("note") + 1] == "<b>&"
    assert "Stable-Baselines3" in page.text
    assert page.links == ["PlanarChain-v0.zip", "watch_1.mp4"]


def test_curves_are_drawn_from_the_logged_values(run_folder: Path) -> None:
    run = read_run(run_folder)
    steps, values = run.values("train/flow_superiority")
    assert steps.tolist() == [300, 600, 900] and values.tolist() == [0.25, 0.5, 0.75]
    assert run.values("eval/mean_reward")[0].tolist() == [950]
    assert run.values("train/no_such_value")[0].size == 0
    assert run.eval_successes is not None and run.eval_successes.tolist() == [0.0, 1.0, 0.5]
    assert figures.q_values(run) is None


def test_values_of_event_files(run_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "QFlex_1")) as writer:
        for step in (10, 20):
            writer.add_scalar("train/q_flow", step / 2, step)
    run = read_run(run_folder, tmp_path / "QFlex_1")
    assert [part.tolist() for part in run.values("train/q_flow")] == [[10, 20], [5, 10]]
    with pytest.raises(SystemExit, match="has no event files"):
        command.main(["run-report", str(run_folder), "--no-model", "--tensorboard", str(tmp_path)])


def test_other_files_are_not_replaced_and_own_pages_are(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, out = tmp_path / "mine.html", tmp_path / "new/page.html"
    mine.write_text("<p>mine</p>")
    with pytest.raises(SystemExit):
        command.main(["run-report", str(run_folder), "--no-model", "--out", str(mine)])
    assert mine.read_text() == "<p>mine</p>"
    assert "was not written by this command" in capsys.readouterr().err
    pages = []
    for _ in range(2):
        command.main(["run-report", str(run_folder), "--no-model", "--out", str(out)])
        pages.append(out.read_text())
    assert pages[0] == pages[1]
    assert Page(pages[0]).titles == ["Return", "Success", "Flow superiority", "Losses"]


def test_a_model_that_cannot_be_looked_at_leaves_the_rest_of_the_page(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def recurrent(*_: object) -> None:
        raise ModelError("a recurrent policy")

    monkeypatch.setattr("sb3_qflex.run_report.model_figures.look_at", recurrent)
    command.main(["run-report", str(run_folder), "--out", str(tmp_path / "page.html")])
    assert "goes without what the trained policy would be played for: a recurrent policy" in capsys.readouterr().out
    assert Page((tmp_path / "page.html").read_text()).titles == ["Return", "Success", "Flow superiority", "Losses"]


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no run folder of RL Zoo"):
        command.main(["run-report", str(tmp_path)])
