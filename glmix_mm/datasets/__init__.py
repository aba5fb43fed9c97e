"""The embedded demo set, and checks of a config's data sets before anything slow starts."""
