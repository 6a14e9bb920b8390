"""The mathematics of the analyses on numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest
import torch as th

from sb3_qflex.analysis.actuators import group_of, groups
from sb3_qflex.analysis.correlation import mean_absolute, pool, pooled_correlation
from sb3_qflex.analysis.energy import match_by_return
from sb3_qflex.analysis.episodes import summarise
from sb3_qflex.analysis.partway import steps_at
from sb3_qflex.analysis.superiority import from_progress
from sb3_qflex.cli import main as command
from sb3_qflex.qflex.flow import integrate


def test_part_way_is_the_beginning_of_the_flow():
    start = th.tensor([[0.0, 1.0]])
    constant = th.tensor([[0.5, -1.0]])
    for until in range(5):
        reached = integrate(lambda t, a: constant, start, 4, until)
        assert th.allclose(reached, start + until / 4 * constant)
    th.testing.assert_close(integrate(lambda t, a: t * a, start, 4, 4), integrate(lambda t, a: t * a, start, 4))


def test_times_become_the_nearest_steps():
    assert steps_at((0.0, 0.25, 1.0), 20) == {"t = 0": 0, "t = 0.25": 5, "t = 1": 20}
    assert steps_at((0.0, 0.25, 0.3, 1.0), 3) == {"t = 0": 0, "t = 0.333": 1, "t = 1": 3}


def test_correlation_is_that_of_deviations_within_states():
    # Means differ by state; about them, coordinate 1 goes with 0, coordinate 2 against it, and 3 does not move.
    deviations = th.tensor([[1.0, 2.0, -1.0, 0.0], [-1.0, -2.0, 1.0, 0.0]])
    samples = th.stack([deviations, 3.0 * deviations + 10.0])
    found = pooled_correlation(samples)
    expected = np.array([[1, 1, -1], [1, 1, -1], [-1, -1, 1]])
    np.testing.assert_allclose(found[:3, :3], expected, atol=1e-6)
    assert np.isnan(found[3]).all()
    assert np.isnan(found[:, 3]).all()


def test_independent_noise_has_a_small_correlation():
    samples = th.randn(50, 40, 3, generator=th.Generator().manual_seed(0))
    found = pooled_correlation(samples)
    assert np.abs(found[~np.eye(3, dtype=bool)]).max() < 5 / np.sqrt(50 * 39)


@pytest.mark.parametrize(
    "names, group",
    [
        (("glmax1_r", "glmax2_r"), "glmax r"),
        (("addmagDist_l", "addmagIsch_l"), "addmag l"),
        (("FDS5", "FDS2"), "FDS"),
        (("LTpT_T1_r", "LTpT_T12_r"), "LTpT r"),
        (("L_Hip_x", "L_Hip_z"), "Hip l"),
        (("left_hip_yaw", "left_hip_roll"), "hip l"),
        (("l", "1"), None),
    ],
)
def test_names_give_groups(names, group):
    if group is None:
        assert [group_of(name) for name in names] == list(names)
    else:
        assert {group_of(name) for name in names} == {group}


def test_sides_are_different_groups():
    assert group_of("soleus_r") != group_of("soleus_l")


def test_patterns_of_the_user_replace_the_rule():
    patterns = {"flexors": ["FD*", "FC*"], "extensors": ["E*"]}
    assert groups(["FDS5", "ECRL", "OP"], 3, patterns) == ["flexors", "extensors", "other"]
    with pytest.raises(ValueError, match="none"):
        groups(None, 3, patterns)


def test_without_names_every_coordinate_is_alone():
    assert groups(None, 3) == ["0", "1", "2"]


def test_means_within_and_between_groups():
    matrix = np.array([[1.0, 0.8, -0.2], [0.8, 1.0, np.nan], [-0.2, np.nan, 1.0]])
    assert mean_absolute(matrix, ["a", "a", "b"]) == {"within": pytest.approx(0.8), "between": pytest.approx(0.2)}
    assert np.isnan(mean_absolute(matrix, ["a", "b", "c"])["within"])


def test_correlations_of_seeds_are_averaged_by_case():
    rows = [
        {"noise": noise, "pairs within": 3, "mean abs. correlation within": value, "case": case}
        for case, noise, value in (("a", "x", 0.1), ("a", "y", 0.5), ("a", "x", 0.3), ("b", "x", 0.7))
    ]
    found = pool(pd.DataFrame(rows))
    assert found["models"].tolist() == [2, 1, 1] and found["pairs within"].tolist() == [3, 3, 3]
    assert found["mean abs. correlation within"].tolist() == pytest.approx([0.2, 0.5, 0.7])


def test_differences_are_paired_by_seed():
    episodes = pd.DataFrame(
        {"case": ["a"] * 3 + ["b"] * 3, "seed": [0, 1, 2, 2, 1, 0], "return": [1.0, 10.0, 100.0, 102.0, 12.0, 3.0]}
    )
    rows = summarise(episodes, "a").set_index("case")
    assert rows["mean difference to a"].to_dict() == {"a": 0.0, "b": 2.0}
    assert rows["its standard error"]["b"] == pytest.approx(0.0)


def test_energy_is_compared_where_both_have_such_returns():
    episodes = pd.DataFrame(
        {
            "case": ["a", "a", "b", "b"],
            "return": [0.0, 10.0, 11.0, 20.0],
            "energy": [1.0, 4.0, 2.0, 50.0],
        }
    )
    # Quantile edges 0, 10.33, 20: {0, 10} has episodes of a alone, {11, 20} of b alone.
    assert match_by_return(episodes.assign(**{"return": [0.0, 10.0, 10.5, 20.0]}), 1)["relative"].tolist() == [1, 10.4]
    assert len(match_by_return(episodes, 2)) == 0


def test_superiority_names_runs_by_what_differs_in_their_folders(tmp_path):
    folders = [tmp_path / "study" / name / "logs" for name in ("qflex", "ascent")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "progress.csv").write_text(
            "time/total_timesteps,train/flow_superiority,train/q_source,train/q_flow,train/flow_displacement\n"
            "200,0.6,1.0,1.5,0.1\n"
        )
    command.main(["analyse", "superiority", *map(str, folders), "--out", str(tmp_path / "out")])
    assert pd.read_csv(tmp_path / "out" / "superiority.csv")["run"].tolist() == ["qflex", "ascent"]
    assert set(pd.read_csv(tmp_path / "out" / "superiority-curves.csv")["run"]) == {"qflex", "ascent"}


def test_progress_of_a_run(tmp_path):
    (tmp_path / "progress.csv").write_text(
        "time/total_timesteps,train/flow_superiority,train/q_flow\n100,,\n200,0.6,1.5\n300,0.9,2.5\n"
    )
    table = from_progress(tmp_path)
    assert table["step"].tolist() == [200, 300]
    assert table["flow_superiority"].tolist() == [0.6, 0.9]
    assert table["q_source"].isna().all()
