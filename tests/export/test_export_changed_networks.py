"""An export has the weights of this moment, however they came there, and refuses what it could not carry."""

import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, observations, small_model
from helpers.tanh_policy import TanhModel
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, weight_norm

from sb3_qflex.export import export_torchscript
from sb3_qflex.export.policy_module import ExportedPolicy
from sb3_qflex.qflex.flow import integrate


def plain(policy, obs: th.Tensor) -> np.ndarray:
    """What the layers themselves say, by torch's own calls."""
    policy.set_training_mode(False)
    with th.no_grad():
        actor, field = policy.actor, policy.field
        source_actions = actor.split_heads(actor.net(obs))[0].tanh()
        velocity = lambda t, a: field.velocity(obs, a, a.new_full((len(a), 1), t))  # noqa: E731
        return integrate(velocity, source_actions, policy.flow_steps).clamp(-1.0, 1.0).numpy()


def linears(net) -> list[nn.Linear]:
    return [layer for layer in net if isinstance(layer, nn.Linear)]


@pytest.fixture
def model():
    return small_model(BoxEnv()).learn(30)


def _data(layer):
    layer.weight.data.mul_(1.5)


def _numpy_view(layer):
    layer.weight.detach().numpy()[:] *= -1.0


def _new_parameter(layer):
    layer.weight = nn.Parameter(2.0 * layer.weight.detach())


def _spectral_norm(layer):
    parametrizations.spectral_norm(layer)


def _weight_norm(layer):
    with th.no_grad():
        parametrizations.weight_norm(layer).parametrizations.weight.original0.mul_(2.0)


def _removed_pruning(layer):
    prune.l1_unstructured(layer, "weight", amount=0.5)
    prune.remove(layer, "weight")


@pytest.mark.parametrize("network", ["actor", "field"])
@pytest.mark.parametrize("change", [_data, _numpy_view, _new_parameter, _spectral_norm, _weight_norm, _removed_pruning])
def test_the_weights_of_this_moment(model, network, change):
    obs = th.as_tensor(observations(model, 50))
    before = ExportedPolicy(model.policy)(obs).numpy()
    change(linears(getattr(model.policy, network).net)[0])
    expected = plain(model.policy, obs)
    assert np.abs(expected - before).max() > 1e-3
    # Also when the policy is left in train mode, where spectral_norm changes its estimate with each look.
    model.policy.set_training_mode(True)
    np.testing.assert_allclose(ExportedPolicy(model.policy)(obs).numpy(), expected, rtol=0, atol=1e-5)


HOOKED = {
    "hook": lambda layer: layer.register_forward_hook(lambda *_: None),
    "pre-hook": lambda layer: layer.register_forward_pre_hook(lambda *_: None),
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "old spectral_norm": lambda layer: nn.utils.spectral_norm(layer),
    "old weight_norm": lambda layer: weight_norm(layer),
    "own forward": lambda layer: setattr(layer, "forward", lambda x: x),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("network", ["actor", "field"])
@pytest.mark.parametrize("kind", HOOKED)
def test_hooks_are_refused(model, kind, network, tmp_path):
    HOOKED[kind](linears(getattr(model.policy, network).net)[-1])
    for export in (model.export_torchscript, model.policy.export_policy):
        with pytest.raises(ValueError, match=r"\(Linear\) has forward hooks.*handle\.remove"):
            export(tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["actor", "actor.net", "actor.features_extractor", "field"])
def test_hooks_of_what_holds_the_layers_too(model, part):
    handle = model.policy.get_submodule(part).register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="has forward hooks"):
        ExportedPolicy(model.policy)
    handle.remove()
    ExportedPolicy(model.policy)


def test_a_hook_that_only_watches_the_critics_is_none_of_the_policy_that_acts(model):
    model.critic.register_forward_hook(lambda *_: None)
    ExportedPolicy(model.policy)


def test_another_policy_class(tmp_path):
    model = TanhModel(BoxEnv())
    parametrizations.spectral_norm(linears(model.policy.net)[0])
    obs = observations(model)
    expected = model.predict(obs)[0]
    script = th.jit.load(export_torchscript(model, tmp_path / "policy"))
    np.testing.assert_allclose(script(th.as_tensor(obs)), expected, rtol=0, atol=1e-5)
    model.policy.net.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"net \(Sequential\) has forward hooks"):
        export_torchscript(model, tmp_path / "other")


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2.0 * super().forward(x)


def test_a_replaced_network_with_a_forward_of_its_own(model):
    model.actor.net = Doubled(*model.actor.net)
    with pytest.raises(ValueError, match="A Doubled cannot be exported"):
        ExportedPolicy(model.policy)


def test_a_policy_file_refuses_what_its_reader_could_not_make(model, tmp_path):
    layer = linears(model.critic.q_networks[0])[0]
    parametrizations.weight_norm(layer)
    with pytest.raises(ValueError, match=r"changed after they were made, here critic\.q_networks\.0"):
        model.policy.export_policy(tmp_path / "policy")
    parametrize.remove_parametrizations(layer, "weight")
    model.policy.export_policy(tmp_path / "policy")
    model.actor.net[2] = nn.Tanh()
    with pytest.raises(ValueError, match=r"changed after they were made, here actor\.net\.2"):
        model.policy.export_policy(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["policy.safetensors"]


def test_another_default_dtype(model):
    obs = th.as_tensor(observations(model, 20))
    expected = ExportedPolicy(model.policy)(obs)
    th.set_default_dtype(th.float64)
    try:
        actions = ExportedPolicy(model.policy)(obs)
    finally:
        th.set_default_dtype(th.float32)
    assert actions.dtype == th.float32
    th.testing.assert_close(actions, expected, rtol=0, atol=1e-6)
