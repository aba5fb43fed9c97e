"""What the slots of a GLNet hold: assignments, panels, the hook, grids compared."""
