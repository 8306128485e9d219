"""What the starter's own tests need."""

from tests.cluster.fixtures import cluster, control_plane

__all__ = ["cluster", "control_plane"]
