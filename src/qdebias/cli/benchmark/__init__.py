"""How fast scoring is: the same answers, computed the published way and ours, in one process."""
