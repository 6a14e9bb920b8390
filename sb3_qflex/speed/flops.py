"""
Useful floating-point operations, counted by hand: 2 for each multiply-add of a matrix product, nothing else.

Work that the result does not need is not counted (gradients by observations, the backward pass through the critic that
is not the smallest), so a share of the machine's peak says how far an implementation is from the least possible time.
All networks are ``len(hidden)`` hidden layers and a linear output; counts are multiply-adds for one sample, and the
public functions at the end multiply them by 2 and by the batch.
"""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Problem:
    """
    What a count depends on.

    :param obs_dim: Columns of the observation.
    :param action_dim: |A|.
    :param hidden: Widths of the hidden layers, the same for all networks; at least one.
    :param n_critics: Number of critics.
    """

    obs_dim: int
    action_dim: int
    hidden: tuple[int, ...] = (256, 256, 256)
    n_critics: int = 2

    def behind_input(self, outputs: int) -> int:
        """A network with so many outputs, behind its first layer."""
        return sum(a * b for a, b in pairwise([*self.hidden, outputs]))

    @property
    def critic_pass(self) -> int:
        """One critic's forward pass behind the observation half, or its backward pass to the action."""
        return self.action_dim * self.hidden[0] + self.behind_input(1)

    @property
    def observation_half(self) -> int:
        """The first layer's observation columns."""
        return self.obs_dim * self.hidden[0]

    @property
    def source_forward(self) -> int:
        """The source policy's forward pass, with its heads for mean and log-std."""
        return self.observation_half + self.behind_input(2 * self.action_dim)

    @property
    def field_forward(self) -> int:
        """The velocity field's forward pass on concat(s, a, t)."""
        return (self.obs_dim + self.action_dim + 1) * self.hidden[0] + self.behind_input(self.action_dim)


def _ascent(problem: Problem, guidance_steps: int) -> int:
    """The observation half once per critic, N forwards of all critics' remainder, N backwards through one critic."""
    steps = guidance_steps * (problem.n_critics + 1) * problem.critic_pass
    return problem.n_critics * problem.observation_half + steps


def _critic_step(problem: Problem) -> int:
    """A source sample, then the joint pass of both halves of the batch: forward, by weights, and by hidden layers."""
    forward = problem.observation_half + problem.critic_pass
    return problem.source_forward + 2 * problem.n_critics * (2 * forward + problem.behind_input(1))


def _source_step(problem: Problem) -> int:
    """All critics forward, the smallest one backward to the action, and the source policy's own passes."""
    critics = problem.n_critics * (problem.observation_half + problem.critic_pass) + problem.critic_pass
    return critics + 2 * problem.source_forward + problem.behind_input(2 * problem.action_dim)


def _field_step(problem: Problem) -> int:
    return 2 * problem.field_forward + problem.behind_input(problem.action_dim)


def flow_target_flop(problem: Problem, batch_size: int, guidance_steps: int) -> int:
    """Useful FLOP of N guidance steps on B given source actions (step 3 without its source sample)."""
    return 2 * batch_size * _ascent(problem, guidance_steps)


def crossq_update_flop(problem: Problem, batch_size: int) -> int:
    """Useful FLOP of steps 1 and 2 of the update: critics and source policy."""
    return 2 * batch_size * (_critic_step(problem) + _source_step(problem))


def update_flop(problem: Problem, batch_size: int, guidance_steps: int) -> int:
    """Useful FLOP of one whole update with ``bootstrap="source"``: steps 1 to 4."""
    guidance = problem.source_forward + _ascent(problem, guidance_steps)
    return crossq_update_flop(problem, batch_size) + 2 * batch_size * (guidance + _field_step(problem))


def acting_flop(problem: Problem, n_envs: int, flow_steps: int) -> int:
    """
    Useful FLOP of source actions carried by K Euler steps; the field's observation half once, its time column not
    counted (the same for all samples).
    """
    step = problem.action_dim * problem.hidden[0] + problem.behind_input(problem.action_dim)
    return 2 * n_envs * (problem.source_forward + problem.observation_half + flow_steps * step)
