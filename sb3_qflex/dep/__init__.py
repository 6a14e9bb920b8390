"""DEP-RL (Schumacher et al., ICLR 2023, arXiv 2206.00484): a self-organising controller explores for an algorithm."""
