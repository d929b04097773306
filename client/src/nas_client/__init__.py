"""Command line and Python client of the NAS suite.

    from nas_client import SearchClient

The command line lives in `nas_client.main`. Nothing in this package imports TensorFlow.
"""

from nas_client.client import SearchClient, ServiceError

__all__ = ["SearchClient", "ServiceError"]
