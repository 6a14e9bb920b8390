"""FlowRL (arXiv 2506.12811): a one-step flow policy that ascends Q and is tied to the best behaviour in the replay."""
