"""Looking at a trained policy: ``python -m sb3_qflex watch`` records episodes with what the policy thinks of them."""
