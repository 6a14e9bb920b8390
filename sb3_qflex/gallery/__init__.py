"""From a trained run to an entry of the index, its picture, and the pages that show them."""
