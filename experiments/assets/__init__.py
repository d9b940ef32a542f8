"""What several experiments train or build once: a module for each kind."""
