"""What goes wrong with books."""

from ..host import HostProblem


class BooksProblem(HostProblem):
    """The books cannot be read, or not as asked; the message says why and what to do."""
