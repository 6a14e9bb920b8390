"""What every off-policy algorithm here stands on; knows none of them."""
