"""CrossQ as a case of QFlex, for the methods that are added to it."""

from typing import Any

from sb3_qflex.qflex.qflex import QFlex


class CrossQ(QFlex):
    """
    CrossQ (arXiv 1902.05605) is QFlex without its flow, with an entropy term: BatchRenorm, joint passes and critics
    without targets are there already. So it is no more than defaults of two arguments.

    :param arguments: Of :class:`sb3_qflex.QFlex`
    :param ent_coef: Entropy regularization coefficient alpha, learned by default
    :param exploration: What acts, by default the source policy itself
    :param keywords: Of :class:`sb3_qflex.QFlex`
    """

    def __init__(
        self, *arguments: Any, ent_coef: str | float = "auto", exploration: str = "source", **keywords: Any
    ) -> None:
        # Positional arguments may go as far as these two.
        super().__init__(*arguments, ent_coef=ent_coef, exploration=exploration, **keywords)  # type: ignore[misc]
