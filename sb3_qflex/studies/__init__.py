"""Studies: what is compared (a YAML file), its runs through RL Zoo, and the report on them."""
