"""Another process at the same database: admits requests and prints what became of each.

Usage: python -m tests.contracts.store.rival URL REQUEST_ID=WORK...   (WORK is a number; one number is the same work)
"""

import asyncio
import json
import sys

from orchestrator.store.database import Database
from tests.contracts.store.makers import admit, digest, search


async def main(url: str, work_by_request: dict[str, int]) -> dict[str, str]:
    """Upgrade, then admit all requests at once; outcomes by request id."""
    db = Database.open(url)
    try:
        await db.upgrade()
        arriving = (admit(db, search(request_id), digest(work)) for request_id, work in work_by_request.items())
        admissions = await asyncio.gather(*arriving)
    finally:
        await db.close()
    return {
        request_id: type(admission).__name__ for request_id, admission in zip(work_by_request, admissions, strict=True)
    }


if __name__ == "__main__":
    pairs = (pair.split("=") for pair in sys.argv[2:])
    outcomes = asyncio.run(main(sys.argv[1], {request_id: int(work) for request_id, work in pairs}))
    sys.stdout.write(json.dumps(outcomes))
