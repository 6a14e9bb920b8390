"""RL Zoo integration: :func:`~sb3_qflex.zoo.registration.register` adds QFlex to the ``rl_zoo3`` of this process."""
