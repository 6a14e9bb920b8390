"""Each option changes what it should, and nothing else."""

import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, assert_same, observations, parameters, small_model


def changed(first, second):
    """Which networks differ."""
    return {name.split(".")[0] for name, value in first.items() if not th.equal(value, second[name])} & {
        "actor",
        "critic",
        "field",
    }


def trained(steps=1, **options):
    """A model after its first gradient steps."""
    return small_model(BoxEnv(), **options).learn(20 + steps)


@pytest.mark.parametrize(
    "options, networks",
    [
        # After one update: what the step of each network reads.
        ({"bootstrap": "flow", "ent_coef": 0.0}, ("critic",)),
        ({"ent_coef": 0.2}, ("critic", "actor")),
        ({"guidance_steps": 5}, ("field",)),
        ({"guidance_step_size": 0.5}, ("field",)),
        ({"preconditioner": [0.1, 10.0]}, ("field",)),
        ({"flow_steps": 3}, ()),
    ],
    ids=str,
)
def test_first_update(options, networks):
    difference = changed(parameters(trained()), parameters(trained(**options)))
    # What comes later in the update reads what changed before it.
    order = ["critic", "actor", "field"]
    first = min((order.index(name) for name in networks), default=len(order))
    assert set(networks) <= difference <= set(order[first:])


def test_rms_starts_as_the_identity_and_then_differs():
    assert changed(parameters(trained()), parameters(trained(preconditioner="rms"))) == set()
    model = trained(5, preconditioner="rms")
    assert "field" in changed(parameters(trained(5)), parameters(model))
    assert bool((model.policy.mean_square_gradient > 0).all())
    assert not bool(trained(5).policy.mean_square_gradient.any())


@pytest.mark.parametrize("exploration", ["source", "ascent"])
def test_no_field_is_trained_without_need(exploration):
    start = parameters(small_model(BoxEnv(), exploration=exploration))
    assert changed(start, parameters(trained(5, exploration=exploration))) == {"actor", "critic"}
    both = parameters(trained(5, exploration=exploration, bootstrap="flow"))
    assert changed(start, both) == {"actor", "critic", "field"}


def test_predictions_follow_the_exploration():
    model = trained(5, guidance_step_size=1.0)
    obs = observations(model)
    actions = {}
    for exploration in ("source", "flow", "ascent"):
        model.policy.exploration = exploration
        actions[exploration], _ = model.predict(obs, deterministic=True)
    tensor = th.as_tensor(obs)
    with th.no_grad():
        mean, _, _ = model.actor.get_action_dist_params(tensor)
    np.testing.assert_allclose(actions["source"], mean.tanh().numpy(), atol=1e-6)
    flow = model.policy.flow(tensor, mean.tanh()).clamp(-1, 1)
    ascent = model.policy.ascend(tensor, mean.tanh()).target_actions.clamp(-1, 1)
    np.testing.assert_allclose(actions["flow"], flow.numpy(), atol=1e-5)
    np.testing.assert_allclose(actions["ascent"], ascent.numpy(), atol=1e-4)
    assert not np.allclose(actions["source"], actions["flow"])
    assert not np.allclose(actions["source"], actions["ascent"])


def test_another_number_of_flow_steps_at_inference():
    model = trained(5)
    obs = observations(model)
    before, _ = model.predict(obs, deterministic=True)
    model.policy.flow_steps = 40
    assert not np.array_equal(before, model.predict(obs, deterministic=True)[0])


@pytest.mark.parametrize("ent_coef, start", [("auto", 1.0), ("auto_0.1", 0.1)])
def test_learned_ent_coef(ent_coef, start):
    model = small_model(BoxEnv(), ent_coef=ent_coef)
    assert float(model.log_ent_coef.exp()) == pytest.approx(start)
    assert model.target_entropy == -2.0
    model.learn(30)
    assert float(model.log_ent_coef.exp()) != pytest.approx(start, rel=1e-5)


def test_fixed_ent_coef_stays():
    model = trained(5, ent_coef=0.2)
    assert model.temperature().item() == pytest.approx(0.2)
    assert model.log_ent_coef is None


def test_policy_delay():
    first, second = parameters(trained(1, policy_delay=2)), parameters(trained(2, policy_delay=2))
    start = parameters(small_model(BoxEnv(), policy_delay=2))
    assert changed(start, first) == {"critic"}
    assert changed(first, second) == {"actor", "critic", "field"}


def test_defaults_are_the_papers():
    implicit = parameters(small_model(BoxEnv(), flow_steps=20, guidance_steps=20).learn(25))
    explicit = small_model(
        BoxEnv(),
        flow_steps=20,
        guidance_steps=20,
        guidance_step_size=0.01,
        guidance_dtype="float32",
        bootstrap="source",
        preconditioner=None,
        exploration="flow",
        ent_coef=0.0,
        policy_delay=1,
    )
    assert_same(implicit, parameters(explicit.learn(25)))
