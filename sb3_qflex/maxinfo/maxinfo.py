"""MaxInfoRL on SAC and on CrossQ."""

from sb3_qflex.maxinfo.mixin import MaxInfo
from sb3_qflex.qflex.crossq import CrossQ
from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.sac.sac import SAC


class MaxInfoSAC(MaxInfo, SAC):
    """
    MaxInfoRL on SAC: Q is joined by lambda I(s, a), the information that an ensemble of dynamics models would gain,
    in the critics' target and in the actor's loss. lambda is learned so that the policy gains as much as its own slow
    copy does.
    Paper: https://arxiv.org/abs/2412.12098 (ICLR 2025)

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of SACPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate of all networks but the ensemble, and of alpha and lambda;
        it can be a function of the current progress remaining (from 1 to 0)
    :param ensemble_size: models of the dynamics, at least 2
    :param ensemble_arch: their hidden layers. With hundreds of observations the ensemble is the largest network
    :param ensemble_lr: their constant learning rate
    :param info_coef: lambda, a number of at least 0, or 'auto' to learn it from 1 ('auto_0.1' from 0.1). With 0 this is
        SAC, update for update. A loaded model whose lambda is learned goes on from its own
    :param learn_reward: whether the ensemble predicts the reward beside the change of the state
    :param reward_weight: the reward's weight in the information gain, in [0, 1]; None for that of the reference
    :param info_norm_cap: the normaliser of I forgets what is older than so many values, at least 1; None for never
    :param reference: which implementation of the authors I follows: "torch" (ReLU, unbiased variance, the reward weighs
        as much as all coordinates of the state together, normalisers of inputs and targets take in one more batch
        before each ``train``) or "jax" (SiLU, biased variance, the reward is one of the coordinates, normalisers take
        in the batch of each update)
    :param slow_tau: how far the slow policy follows at each update, in [0, 1]; the reference has the critics' tau
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :param arguments: Those of :class:`sb3_qflex.sac.sac.SAC`, by keyword
    :raises ValueError: for values out of range and combinations that are not supported
    :raises TypeError: for unknown arguments, with the nearest known one
    """


class MaxInfoCrossQ(CrossQ, MaxInfo, QFlex):
    """
    MaxInfoRL on CrossQ: the same bonus on :class:`sb3_qflex.QFlex` without its flow, whose critics have BatchRenorm and
    no targets. Each update draws one action more than that of :class:`MaxInfoSAC`, as the policy here moves after the
    critics.

    Any ``exploration`` may be asked for; flow and ascent follow Q alone, without the bonus.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of QFlexPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: As for :class:`MaxInfoSAC`
    :param ent_coef: Entropy regularization coefficient alpha
    :param exploration: See :class:`sb3_qflex.QFlex`
    :param arguments: Options of :class:`MaxInfoSAC` that are not SAC's, and those of :class:`sb3_qflex.QFlex`, by
        keyword
    :raises ValueError: for values out of range and combinations that are not supported
    :raises TypeError: for unknown arguments, with the nearest known one
    """
