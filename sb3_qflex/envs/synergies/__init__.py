"""Groups of muscles that move together (DynSyn, arXiv 2407.11472): how they are found, kept, and acted through."""
