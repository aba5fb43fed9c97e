"""Models for other runtimes: export, and a runner that needs neither torch nor OpenMMLab."""
