"""What supervisors are started with: by this name agents of all versions know them among the host's processes.

An agent whose package is exchanged under it begins its next supervisors here too, so the module stays where it is.
"""

from qgjob_agent.executions.supervisor import main

__all__ = ["main"]
