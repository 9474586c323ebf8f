"""A double of GitHub's Releases API: real HTTP on loopback, with a memory, and strict.

It refuses what GitHub's own OpenAPI description does not allow, and behaves as GitHub's
documentation says where a client may trip: drafts that no tag finds, assets left in the state
`starter`, published releases that cannot change, rate limits, pages. It looks at the public side
after each change, and keeps a list of what was wrong there.
"""

from github_double.faults import Fault
from github_double.server import Double
from github_double.state import Repository

__all__ = ["Double", "Fault", "Repository"]
