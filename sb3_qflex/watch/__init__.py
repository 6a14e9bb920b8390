"""Looking at a trained policy: ``sb3-qflex watch`` records episodes with what the policy thinks of them."""
