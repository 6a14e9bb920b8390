"""The command end to end on one small row group, and what the rows compare."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch as th

from sb3_qflex.cli import main as command
from sb3_qflex.speed import myosuite, speed, workloads
from sb3_qflex.speed.flops import Problem, acting_flop, flow_target_flop
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.rows import flow_target, memory, rounding, update
from sb3_qflex.speed.rows.flow_target import batch, folded_task
from sb3_qflex.speed.rows.loop import measure_loops
from sb3_qflex.speed.rows.memory import buffer_bytes, measure_in_process
from sb3_qflex.speed.settings import quick
from sb3_qflex.speed.timing import Schedule

TINY = Problem(5, 3, (16, 16))


@pytest.fixture(autouse=True)
def keep_threads():
    threads = th.get_num_threads()
    yield
    th.set_num_threads(threads)


@pytest.fixture
def tiny_settings(monkeypatch):
    def tiny(threads):
        return replace(quick(threads), sizes=(TINY,), schedule=Schedule(0.0, 2, 2))

    monkeypatch.setattr(speed, "quick", tiny)


@pytest.fixture(scope="module")
def model():
    return workloads.qflex(TINY, workloads.filled_buffer(TINY, 512))


def test_speed_measures_one_row_group_and_writes_it(tiny_settings, tmp_path, capsys):
    arguments = ["speed", "--quick", "--rows", "flow", "--threads", "1", "--out", str(tmp_path)]
    for _ in range(2):  # the second run replaces the files of the first
        command.main(arguments)
    printed = capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        "speed-quick-flow.md", "speed-quick-flow.csv", "speed-quick-flow.json", "speed-quick-flow-flow.png",
    }  # fmt: skip
    assert (tmp_path / "speed-quick-flow.md").read_text() in printed
    data = json.loads((tmp_path / "speed-quick-flow.json").read_text())
    assert data["command"].startswith("sb3-qflex speed --quick --rows flow --threads 1")
    found = {one["quantity"]: one for one in data["sections"][0]["measurements"]}
    assert found["useful work"]["samples"] == [flow_target_flop(TINY, 256, 20) / 1e9]
    folded, plain = (np.array(found[name]["samples"]) for name in ("folded", "plain"))
    assert (folded > 0).all() and len(folded) == 2
    np.testing.assert_allclose(found["plain / folded"]["samples"], plain / folded)


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_has_columns_where_it_is_fast_and_a_reason_elsewhere(fast, monkeypatch):
    for module in (flow_target, update):
        monkeypatch.setattr(module, "has_fast_bfloat16", lambda device: fast)
    settings = replace(quick(1), sizes=(TINY,), schedule=Schedule(0.0, 1, 1))
    section = flow_target.measure_flow_target(settings)
    names = {one.quantity for one in section.measurements}
    columns = {"bfloat16", "folded / bfloat16", "share of peak, bfloat16", "peak, bfloat16"}
    assert names & columns == (columns if fast else set())
    assert section.skipped == ([] if fast else ["bfloat16, whose products are not faster here"])
    found = {one.quantity for one in update.measure_update(settings).measurements}
    columns = {"bfloat16 guidance", "bfloat16 guidance / QFlex"}
    assert found & columns == (columns if fast else set())


def test_rounding_is_told_by_direction_length_and_gain():
    settings = replace(quick(1), growth_obs_dim=5, rounding_actions=(3, 8))
    section = rounding.measure_rounding(settings)
    assert [one.case for one in section.measurements[::3]] == ["5 / 3", "5 / 8"]
    for case in ("5 / 3", "5 / 8"):
        cosine, error = (np.array(section.find(case, name).samples) for name in ("cosine", "relative error"))
        assert len(cosine) == len(error) == 256
        assert np.median(cosine) > 0.99 and 0.0 < np.median(error) < 0.1
        # Both ways lead uphill, about as far.
        assert section.find(case, "gain").median == pytest.approx(1.0, abs=0.05)


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(th.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"--device cuda: torch finds no CUDA device here .* leave --device out"):
        command.main(["speed", "--device", "cuda", "--out", str(tmp_path)])
    monkeypatch.setattr(th.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit, match="--device cuda has the rows flow, update, acting, not memory"):
        command.main(["speed", "--device", "cuda", "--rows", "flow", "memory", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())
    assert speed._rows(None, "cuda") == ["flow", "update", "acting"]


def test_rows_measured_before_a_failing_one_are_kept_until_a_run_succeeds(tiny_settings, tmp_path, monkeypatch):
    arguments = ["speed", "--quick", "--rows", "flow", "memory", "--threads", "1", "--out", str(tmp_path)]
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(memory, "measure_memory", lambda settings: (_ for _ in ()).throw(MemoryError))
        command.main(arguments)
    stem = "speed-quick-flow-memory"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{stem}-unfinished.{suffix}" for suffix in ("md", "csv", "json")}
    data = json.loads((tmp_path / f"{stem}-unfinished.json").read_text())
    assert [section["rows"] for section in data["sections"]] == ["flow"]
    monkeypatch.setattr(memory, "measure_memory", lambda settings: Section("memory", "Memory", "none"))
    command.main(arguments)
    assert not list(tmp_path.glob("*unfinished*")) and (tmp_path / f"{stem}.md").exists()


def test_speed_refuses_to_replace_a_file_before_it_measures(tmp_path):
    (tmp_path / "speed-quick-flow.md").write_text("mine")
    with pytest.raises(SystemExit, match=r"speed-quick-flow\.md"):
        command.main(["speed", "--quick", "--rows", "flow", "--out", str(tmp_path)])
    assert (tmp_path / "speed-quick-flow.md").read_text() == "mine"


@pytest.mark.parametrize("wrong", [["--rows", "speed"], ["--threads", "0"], ["--threads", "two"]])
def test_wrong_arguments_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        command.main(["speed", *wrong])
    assert wrong[0] in capsys.readouterr().err


def test_parts_of_the_report_do_not_replace_the_whole_one():
    assert speed._stem(False, list(speed.ROWS)) == "speed"
    assert speed._stem(True, list(speed.ROWS)) == "speed-quick"
    assert speed._stem(False, ["flow", "update"]) == "speed-flow-update"
    assert speed._stem(True, ["flow", "update", "acting"], "cuda") == "speed-cuda-quick"
    assert speed._stem(False, ["flow"], "cuda") == "speed-cuda-flow"


def test_the_plain_path_is_the_definition_and_ends_with_the_block(model, monkeypatch):
    passes = []
    q_values = model.policy.critic.q_values
    monkeypatch.setattr(model.policy.critic, "q_values", lambda *args: passes.append(1) or q_values(*args))
    obs, source_actions = batch(model.policy)
    with workloads.plain_path(model.policy):
        plain = model.policy.ascend(obs, source_actions).target_actions
    assert len(passes) == 20
    folded = model.policy.ascend(obs, source_actions).target_actions
    assert len(passes) == 20
    close = th.isclose(plain, folded, atol=1e-4).all(dim=1)
    assert close.float().mean() >= 0.99


def test_the_flow_target_is_timed_with_critics_that_were_just_edited(model):
    task = folded_task(model.policy, "folded")
    before = [(parameter._version, parameter.clone()) for parameter in model.policy.critic.parameters()]
    task.prepare()
    for (version, value), parameter in zip(before, model.policy.critic.parameters(), strict=True):
        assert parameter._version > version
        assert th.equal(parameter, value)


@pytest.mark.parametrize("make", [workloads.qflex, workloads.source_only, workloads.crossq, workloads.sac])
def test_all_algorithms_have_the_same_networks_and_update_everything_each_time(make):
    model = make(TINY, workloads.filled_buffer(TINY, 512))
    hidden = [m.out_features for m in model.critic.q_networks[0] if isinstance(m, th.nn.Linear)][:-1]
    assert hidden == [16, 16]
    assert len(model.critic.q_networks) == 2
    actor = [parameter.clone() for parameter in model.actor.parameters()]
    model.train(1, 32)
    assert not all(th.equal(a, b) for a, b in zip(actor, model.actor.parameters(), strict=True))
    assert model.predict(np.zeros((4, 5), np.float32))[0].shape == (4, 3)


def test_loops_are_skipped_with_a_reason_without_myosuite(monkeypatch):
    monkeypatch.setattr(myosuite, "find_spec", lambda name: None)
    section = measure_loops(quick(1))
    assert section.measurements == []
    assert section.skipped == ["myoHandPenTwirlRandom-v0: MyoSuite is not installed: pip install 'sb3-qflex[myosuite]'"]


@pytest.mark.parametrize(("free", "fits"), [(10_000, True), (9_999, False)])
def test_processes_that_exceed_the_free_memory_are_not_started(monkeypatch, free, fits):
    # Eight environments of 1000 kB may take 80 % of what is free.
    monkeypatch.setattr("sb3_qflex.common.memory.available_memory", lambda: 1024 * free)
    monkeypatch.setattr(myosuite, "_private_bytes", lambda _: 1024 * 1000)
    reason = myosuite.too_large(lambda: workloads.SyntheticEnv(2, 1), 8)
    assert reason is None if fits else "8 processes would take" in reason


def test_buffer_bytes_are_those_of_the_buffer():
    buffer = workloads.filled_buffer(TINY, 512)
    arrays = (
        buffer.observations,
        buffer.next_observations,
        buffer.actions,
        buffer.rewards,
        buffer.dones,
        buffer.timeouts,
    )
    assert buffer_bytes(TINY, 512) == sum(array.nbytes for array in arrays)


def test_memory_of_a_process_exceeds_that_of_the_networks():
    wide = Problem(50, 10, (512, 512))
    weights = 4 * acting_flop(wide, 1, 1) // 2
    assert measure_in_process("QFlex", wide, 1) > weights
