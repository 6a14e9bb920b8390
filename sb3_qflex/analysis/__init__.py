"""The paper's analyses of trained models, and their live form as a callback; ``sb3-qflex analyse``."""
