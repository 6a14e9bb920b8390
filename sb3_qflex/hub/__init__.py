"""Sharing runs on the Hugging Face Hub, in RL Zoo's layout, by ``push_to_hub`` and ``load_from_hub``."""
