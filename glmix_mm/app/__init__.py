"""A page for the browser: predictions, and slots by clicking, of one's own pictures."""
