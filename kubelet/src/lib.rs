//! The node agent: turns the pods assigned to this node into CRI calls, and what happened into pod status.
