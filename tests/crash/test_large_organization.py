"""The deletion of an organization with many members."""

from crash.large_organization import measure
from crash.site import Site


async def test_deleting_a_large_organization(database_url: str) -> None:
    """It leaves no member behind, whatever arrives meanwhile, and other organizations' deliveries are answered."""
    async with Site(database_url, fronts=1) as site:
        seen = await measure(site, database_url, 5_000)

    print(seen.table())
    assert seen.left == 0
    assert seen.during.milliseconds
    assert seen.during.failed == 0
    # Generous, for busy machines; figures are for the benchmark.
    assert max(seen.during.milliseconds) < 8_000
