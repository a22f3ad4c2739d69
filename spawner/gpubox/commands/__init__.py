"""What the command `gpubox` does, a module a topic; `cli` has the arguments that all share, and `main`.

Each module adds its commands with ``add_to``. What they need is imported when they run: a command starts in a
tenth of a second.
"""
