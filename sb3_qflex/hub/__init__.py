"""Sharing runs on the Hugging Face Hub, in RL Zoo's layout, by ``sb3-qflex push-to-hub`` and ``load-from-hub``."""
