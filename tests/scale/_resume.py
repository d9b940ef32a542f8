"""A streaming run that test_resume.py kills. Arguments: folder of the run, number of chunks.

Prints the number of finished chunks as it goes, and at the end "result" and the hash of the final state's bits.
"""

import sys

from jaxlab import deploy
from tests.scale import _workload as work


def main(folder, chunks):
    state = deploy.resumable_fold(
        work.update,
        work.init(),
        work.chunk,
        folder,
        num_chunks=int(chunks),
        progress=lambda done, total: print(done, flush=True),
    )
    print("result", work.digest(state), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
