"""What a transition would teach a model of the dynamics: an ensemble with its normalisers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch as th
from torch import nn

from sb3_qflex.maxinfo.ensemble import Ensemble, RunningNormalizer
from sb3_qflex.maxinfo.objectives import coordinate_weights, ensemble_loss, information_gain


class Reference(NamedTuple):
    """In what the two implementations of the paper's authors differ."""

    activation_fn: type[nn.Module]
    #: 1 for the unbiased variance over heads, 0 for the biased one.
    correction: int
    #: Whether the reward weighs as much as all coordinates of the state together, or as one of them.
    reward_is_half: bool
    #: Whether the normalisers take in each batch of an update, or one more batch before each ``train``.
    follows_updates: bool


#: maxinforl_torch and maxinforl_jax.
REFERENCES = {"torch": Reference(nn.ReLU, 1, True, False), "jax": Reference(nn.SiLU, 0, False, True)}


class InformationGain(nn.Module):
    """
    An ensemble that predicts s' - s and r from (s, a), and how much its heads disagree about them.

    States are features here, of which no gradient is taken.

    :param features_dim: Features of a state.
    :param action_dim: |A|.
    :param n_heads: Networks of the ensemble, at least 2.
    :param net_arch: Their hidden layers.
    :param reference: Which implementation to follow.
    :param learn_reward: Whether r is predicted too.
    :param reward_weight: Its weight in the information gain, in [0, 1]; None for that of the reference.
    :param cap: Largest count of the normaliser of the information gain; None for none.
    """

    weights: th.Tensor
    loss_weights: th.Tensor

    def __init__(
        self,
        features_dim: int,
        action_dim: int,
        n_heads: int,
        net_arch: Sequence[int],
        reference: Reference,
        learn_reward: bool = True,
        reward_weight: float | None = None,
        cap: float | None = None,
    ):
        super().__init__()
        self.learn_reward = learn_reward
        self.correction = reference.correction
        if reward_weight is None:
            reward_weight = 0.5 if reference.reward_is_half else 1.0 / (features_dim + 1)
        inputs, targets = features_dim + action_dim, features_dim + int(learn_reward)
        self.ensemble = Ensemble(n_heads, inputs, targets, net_arch, reference.activation_fn)
        self.inputs = RunningNormalizer((inputs,))
        self.targets = RunningNormalizer((targets,))
        self.gains = RunningNormalizer((), cap=cap)
        # Not saved: the options that they are made of are.
        weights = coordinate_weights(features_dim, reward_weight if learn_reward else None)
        self.register_buffer("weights", weights, persistent=False)
        loss_weights = coordinate_weights(features_dim, 0.5 if learn_reward else None)
        self.register_buffer("loss_weights", loss_weights, persistent=False)

    def forward(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """
        I(s, a), differentiable by the action.

        :param features: Of states, shape (B, F).
        :param actions: Shape (B, |A|).
        :return: Shape (B,).
        """
        return information_gain(self.predict(features, actions), self.weights, self.correction)

    def predict(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """
        Normalised s' - s and r of each head.

        :param features: Of states, shape (B, F).
        :param actions: Shape (B, |A|).
        :return: Shape (heads, B, F + 1), the reward last where it is predicted.
        """
        return self.ensemble(self.inputs(th.cat([features, actions], dim=1)))

    def observe(self, features: th.Tensor, actions: th.Tensor, next_features: th.Tensor, rewards: th.Tensor) -> None:
        """
        Take a batch of transitions into the normalisers of inputs and targets.

        :param features: Of states, shape (B, F).
        :param actions: Shape (B, |A|).
        :param next_features: Of their successors.
        :param rewards: Shape (B, 1).
        """
        self.inputs.update(th.cat([features, actions], dim=1))
        self.targets.update(self._targets(features, next_features, rewards))

    def loss(self, features: th.Tensor, actions: th.Tensor, next_features: th.Tensor, rewards: th.Tensor) -> th.Tensor:
        """
        Mean over state and reward of the mean squared error of all heads.

        :param features: Of states, shape (B, F).
        :param actions: Shape (B, |A|).
        :param next_features: Of their successors.
        :param rewards: Shape (B, 1).
        """
        targets = self.targets(self._targets(features, next_features, rewards))
        return ensemble_loss(self.predict(features, actions), targets, self.loss_weights)

    def _targets(self, features: th.Tensor, next_features: th.Tensor, rewards: th.Tensor) -> th.Tensor:
        change = next_features - features
        return th.cat([change, rewards], dim=1) if self.learn_reward else change
