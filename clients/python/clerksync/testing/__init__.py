"""For tests of services that use clerksync: a SyncService in this process, without Postgres.

It follows the real rules, because it shares their code, and answers with the real codes and reasons. It listens on a
port, so whatever speaks gRPC can use it: asyncio or threads, Python or not.

    import pytest
    from clerksync.testing import FakeSyncService

    @pytest.fixture
    def fake():
        with FakeSyncService() as fake:
            yield fake

    def test_members_get_in(fake):
        fake.join("user_ada", "org_acme", role="org:admin")
        with my_app(sync_service=fake.target) as browser:
            assert browser.get("/", user="user_ada", org="org_acme").status_code == 200

            fake.remove("user_ada", "org_acme")
            assert browser.get("/", user="user_ada", org="org_acme").status_code == 403

    def test_nobody_waits_for_sync_service(fake):
        with my_app(sync_service=fake.target) as browser, fake.freeze():
            assert browser.get("/", user="user_ada", org="org_acme").status_code == 200

The same fixture comes ready-made as `fake_sync_service`, in `clerksync.testing.fixtures`.

- What happens in Clerk: `join`, `remove`, `delete_user`, `delete_organization`, `rename_organization`.
- What there is: `profile`, `organization_row`; what was asked: `calls`, `times_asked`, `watchers`.
- Trouble: `slow`, `away`, `broken`, `freeze`, `stopped`, `mute_watchers`, `cut_watchers`, `forget_positions`.
  Each but the last two lasts until `back`, or for a block: ``with fake.away(): ...``.

Removals are compared with the time at which the token was issued, as always: a token from after a removal proves that
the user is a member again. So tests of removals send a token's real `iat`, or none, and not a time to come.

Session tokens that calls carry are not looked at: there are no keys to verify them with.
"""

from clerksync.testing.fake import FakeSyncService, Until
from clerksync.testing.stage import Call

__all__ = ["Call", "FakeSyncService", "Until"]
