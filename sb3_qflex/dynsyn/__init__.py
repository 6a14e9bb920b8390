"""DynSyn (arXiv 2407.11472): one action for each group of muscles, and small corrections of each muscle later."""
