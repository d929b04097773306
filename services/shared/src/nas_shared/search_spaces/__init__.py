"""Search spaces: what can be chosen, and how a choice is written down.

`load(name)` gives a `SearchSpace` by the name users know (`mnasnet`) or by `module:attribute`.
`mnasnet.py` is the file to edit, or to copy and name as `module:attribute`, to search another
space.
"""

from nas_shared.search_spaces.encoding import Decision, NasParamsError, SearchSpaceError
from nas_shared.search_spaces.registry import NAMES, load
from nas_shared.search_spaces.space import SearchSpace

__all__ = ["NAMES", "Decision", "NasParamsError", "SearchSpace", "SearchSpaceError", "load"]
