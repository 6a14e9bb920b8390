"""Algorithms that DEP explores for."""

from sb3_qflex.dep.exploration import DEPExplorationMixin
from sb3_qflex.qflex.crossq import CrossQ
from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.sac.sac import SAC


class DEPSAC(DEPExplorationMixin, SAC):
    """
    SAC whose first steps DEP makes, and whose policy it interrupts later.
    Paper: https://arxiv.org/abs/2206.00484 (ICLR 2023)

    :param arguments: Of :class:`sb3_qflex.sac.sac.SAC`
    :param dep: Settings, see :class:`DEPExplorationMixin`
    :param keywords: Of :class:`sb3_qflex.sac.sac.SAC`
    """


class DEPQFlex(DEPExplorationMixin, QFlex):
    """
    QFlex whose first steps DEP makes, and whose policy it interrupts later.

    :param arguments: Of :class:`sb3_qflex.QFlex`
    :param dep: Settings, see :class:`DEPExplorationMixin`
    :param keywords: Of :class:`sb3_qflex.QFlex`
    """


class DEPCrossQ(CrossQ, DEPQFlex):
    """
    CrossQ whose first steps DEP makes, and whose policy it interrupts later: QFlex without its flow (BatchRenorm,
    joint passes and no target critics are CrossQ's) and with a learned entropy coefficient, which are the defaults of
    two arguments here.

    :param arguments: Of :class:`sb3_qflex.QFlex`
    :param ent_coef: As there
    :param exploration: As there
    :param keywords: Of :class:`sb3_qflex.QFlex`, and ``dep``, see :class:`DEPExplorationMixin`
    """
