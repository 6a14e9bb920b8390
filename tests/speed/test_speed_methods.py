"""The row of the other methods: what it has of each, and that it is measured only when it is asked for."""

from dataclasses import replace

import numpy as np
import pytest

from sb3_qflex.common.diffusion_policy import DiffusionPolicyBase
from sb3_qflex.speed import speed
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.rows import BY_DEFAULT, ROWS, methods
from sb3_qflex.speed.settings import quick
from sb3_qflex.speed.timing import Schedule

TINY = Problem(5, 3, (8, 8))


def test_every_method_has_its_ratio_to_sac_and_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {}
    made = methods.workloads.made

    def kept(algorithm, *arguments, **keywords):
        model = made(algorithm, *arguments, **keywords)
        rounds = getattr(model, "sampling_dtype", "float32") != "float32"
        models[algorithm.__name__, getattr(model, "variant", None), rounds] = model
        return model

    monkeypatch.setattr(methods.workloads, "made", kept)
    monkeypatch.setattr(methods, "BATCH_SIZE", 8)
    monkeypatch.setattr(methods.workloads, "BATCH_SIZE", 8)
    section = methods.measure_methods(replace(quick(1), methods_size=TINY, schedule=Schedule(0.0, 2, 2, 0.0)))
    targets = {"MaxInfoSAC": 3.5, "FlowRL": 2.5, "DACER": 4.0, "QSM ddpm": 1.5, "QSM langevin": 18.0}
    targets |= {"DPMD": 18.0, "SDAC": 25.0}
    targets |= {f"{name}, bfloat16": targets[name] for name in ("QSM langevin", "DPMD", "SDAC")}
    label = methods.workloads.label(TINY)
    assert {name: section.find(f"{label}, {name}", "target").median for name in targets} == targets
    for name in methods.METHODS:
        case = f"{label}, {name}"
        update, sac = (section.find(one, "update").samples for one in (case, f"{label}, SAC"))
        assert section.find(case, "update / SAC").samples == pytest.approx(np.divide(update, sac))
        assert section.find(case, "acting, n = 80").median > 0.0
    # Those with a target of acting are those that act with 32 particles.
    asked = {one.case.removeprefix(f"{label}, ") for one in section.measurements if one.quantity == "target of acting"}
    particles = {
        key for key, model in models.items()
        if isinstance(model.policy, DiffusionPolicyBase) and model.policy.n_particles == 32
    }  # fmt: skip
    forms = [("SDAC", None), ("DPMD", None), ("QSM", "langevin")]
    assert particles == {(*form, rounds) for form in forms for rounds in (False, True)}
    assert asked == {name + form for name in ("SDAC", "DPMD", "QSM langevin") for form in ("", ", bfloat16")}


def test_it_is_measured_when_it_is_named() -> None:
    assert set(ROWS) - set(BY_DEFAULT) == {"methods"}
    assert speed._rows(None, "cpu") == list(BY_DEFAULT) and speed._rows(["methods"], "cpu") == ["methods"]
    assert speed._stem(False, BY_DEFAULT) == "speed"
    assert speed._stem(False, ["methods"]) == "speed-methods"
