"""The paper's analyses of trained models, and their live form as a callback; ``python -m sb3_qflex.analysis``."""
