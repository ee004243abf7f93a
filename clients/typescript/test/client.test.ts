import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import * as clerksync from "../src/index.js";
import { SyncClient } from "../src/index.js";
import { type Failure, FakeServer, sleep, until } from "./fake_server.js";
import { clientInSync, serverAndClient, who } from "./fixtures.js";

test("a miss asks SyncService, and a hit does not", async (context) => {
  const { server, client } = await clientInSync(context);

  const first = await client.ensureUserProfile(who("ada"));
  const second = await client.ensureUserProfile(who("ada"));

  assert.deepEqual([true, false], [first.created, second.created]);
  assert.deepEqual(["ada", "org_acme"], [first.profile.clerkUserId, first.profile.clerkOrgId]);
  assert.ok(first.profile.createTime instanceof Date);
  assert.deepEqual(first.profile, second.profile);
  assert.deepEqual([["ada"]], server.calls);
  const { hits, misses, calls } = client.stats();
  assert.deepEqual({ hits: 1, misses: 2, calls: 2 }, { hits, misses, calls });
});

test("an organization is ensured, and not cached", async (context) => {
  const { client } = await serverAndClient(context);

  const { organization, created } = await client.ensureOrganization({ clerkOrgId: "org_acme" });

  assert.deepEqual([true, true, undefined], [created, organization.isPlaceholder, organization.slug]);
  assert.equal(0, client.stats().cached);
});

test("session tokens travel with those who have one, alone, in a batch, and for an organization", async (context) => {
  const { server, client } = await serverAndClient(context);
  server.delayMs = 20;

  await Promise.all([
    ...["one", "two", "three"].map((user) => client.ensureUserProfile({ ...who(user), sessionToken: `${user}.b.c` })),
    client.ensureUserProfile(who("four")),
  ]);
  await client.ensureOrganization({ clerkOrgId: "org_acme", sessionToken: "org.b.c" });

  assert.deepEqual([["one"], ["two", "three", "four"]], server.calls.slice(0, 2));
  assert.deepEqual(["one.b.c", "two.b.c", "three.b.c", "org.b.c"], server.sessionTokens);
});

test("metadata travels with a call that is alone", async (context) => {
  const { server, client } = await serverAndClient(context);

  await client.ensureUserProfile(who("ada"), { metadata: { "x-request-id": "by-hand" } });

  assert.equal("by-hand", server.requestId);
});

test("the reason of a failure decides which error it is, in a unary call and in a batch", async (context) => {
  const { server, client } = await serverAndClient(context);
  const expected: [Failure, new (...parts: never[]) => Error][] = [
    [{ code: status.FAILED_PRECONDITION, reason: "MEMBERSHIP_REMOVED" }, clerksync.MembershipRemoved],
    [{ code: status.FAILED_PRECONDITION, reason: "USER_DELETED" }, clerksync.UserDeleted],
    [{ code: status.FAILED_PRECONDITION, reason: "ORGANIZATION_DELETED" }, clerksync.OrganizationDeleted],
    [{ code: status.FAILED_PRECONDITION, reason: "EVIDENCE_TOO_OLD" }, clerksync.EvidenceTooOld],
    [{ code: status.UNAUTHENTICATED, reason: "SESSION_TOKEN_MISSING" }, clerksync.SessionTokenRefused],
    [{ code: status.UNAUTHENTICATED, reason: "SESSION_TOKEN_INVALID" }, clerksync.SessionTokenRefused],
    [{ code: status.PERMISSION_DENIED, reason: "SESSION_TOKEN_MISMATCH" }, clerksync.SessionTokenRefused],
    [{ code: status.UNAUTHENTICATED, reason: "CREDENTIALS_MISSING" }, clerksync.CallFailed],
    [{ code: status.FAILED_PRECONDITION, reason: "SOMETHING_LATER" }, clerksync.Refused],
    [{ code: status.FAILED_PRECONDITION }, clerksync.CallFailed],
    [{ code: status.INVALID_ARGUMENT, reason: "INVALID_FIELD", violations: { a: "b" } }, clerksync.InvalidRequest],
    [{ code: status.INTERNAL, reason: "INTERNAL" }, clerksync.CallFailed],
    [{ code: status.RESOURCE_EXHAUSTED }, clerksync.Unavailable],
  ];
  server.delayMs = 5;
  for (const [failure, kind] of expected) {
    server.refusals.set("eve", failure);
    for (const others of [[], ["one", "two"]]) {
      const asked = [...others, "eve"].map((user) => client.ensureUserProfile(who(user, `org_${kind.name}`)));
      const outcome = (await Promise.allSettled(asked)).at(-1);

      assert.equal("rejected", outcome?.status);
      assert.equal(kind.name, outcome?.status === "rejected" && outcome.reason.name);
      assert.equal(kind, outcome?.status === "rejected" && outcome.reason.constructor);
      if (outcome?.status === "rejected" && outcome.reason instanceof clerksync.InvalidRequest) {
        assert.deepEqual({ a: "b" }, outcome.reason.violations);
      }
    }
  }
  assert.equal(16, client.stats().failures.refused);
});

test("ill-formed ids and times are refused before they can spoil a batch", async (context) => {
  const { server, client } = await serverAndClient(context);
  for (const identity of [
    who(""),
    who("with space"),
    who("ä"),
    who("x".repeat(256)),
    who("ada", ""),
    who("ada", "org", new Date(Number.NaN)),
    who("ada", "org", new Date(8.64e15)),
    { ...who("ada"), sessionToken: "" },
    { ...who("ada"), sessionToken: "with space" },
    { ...who("ada"), sessionToken: "x".repeat(8_193) },
    { ...who("ada"), sessionToken: 17 as never },
    { clerkOrgId: "org" } as never,
  ]) {
    await assert.rejects(client.ensureUserProfile(identity), clerksync.InvalidRequest);
  }
  await assert.rejects(client.ensureOrganization({ clerkOrgId: "" }), clerksync.InvalidRequest);
  assert.deepEqual([], server.calls);
});

test("concurrent misses of one pair make one call, and one of them is told that it created", async (context) => {
  const { server, client } = await clientInSync(context);
  server.delayMs = 20;

  const answers = await Promise.all(Array.from({ length: 50 }, () => client.ensureUserProfile(who("ada"))));

  assert.deepEqual([["ada"]], server.calls);
  assert.equal(1, answers.filter(({ created }) => created).length);
  assert.equal(49, client.stats().coalesced);
});

test("a miss with a later token does not share the fate of an earlier one on its way", async (context) => {
  const { server, client } = await clientInSync(context);
  server.delayMs = 200;
  server.refusals.set("ada", { code: status.FAILED_PRECONDITION, reason: "MEMBERSHIP_REMOVED" });
  const [early, late] = [new Date(1_000), new Date(2_000)];

  const first = client.ensureUserProfile(who("ada", "org", early));
  await until(() => server.calls.length === 1);
  const joining = client.ensureUserProfile(who("ada", "org", early));
  const second = client.ensureUserProfile(who("ada", "org", late));
  const outcomes = Promise.allSettled([first, joining, second]);
  await assert.rejects(first, clerksync.MembershipRemoved);
  server.refusals.clear();

  assert.deepEqual(
    ["rejected", "rejected", "fulfilled"],
    (await outcomes).map((outcome) => outcome.status),
  );
  assert.deepEqual([["ada"], ["ada"]], server.calls);
});

test("a lone miss leaves at once; those that come meanwhile leave together when it has returned", async (context) => {
  const { server, client } = await clientInSync(context);
  server.delayMs = 300;

  const asked = ["ada", "bob", "eve", "bob"].map((user) => client.ensureUserProfile(who(user)));
  await until(() => server.calls.length === 1);
  await sleep(20);
  assert.deepEqual([["ada"]], server.calls);
  assert.equal(2, client.stats().waiting);
  const answers = await Promise.all(asked);

  assert.deepEqual([["ada"], ["bob", "eve"]], server.calls);
  assert.deepEqual(
    ["ada", "bob", "eve", "bob"],
    answers.map(({ profile }) => profile.clerkUserId),
  );
});

test("in a batch each pair has its own outcome", async (context) => {
  const { server, client } = await clientInSync(context);
  server.delayMs = 5;
  server.refusals.set("bob", { code: status.FAILED_PRECONDITION, reason: "USER_DELETED" });

  const outcomes = await Promise.allSettled(
    ["x", "ada", "bob", "eve"].map((user) => client.ensureUserProfile(who(user))),
  );

  assert.deepEqual(
    ["fulfilled", "fulfilled", "rejected", "fulfilled"],
    outcomes.map((outcome) => outcome.status),
  );
  assert.deepEqual([["x"], ["ada", "bob", "eve"]], server.calls);
});

test("a flood of different pairs leaves the cache bounded", async (context) => {
  const { client } = await serverAndClient(context, { cacheSize: 1_000 });

  for (let round = 0; round < 4; round += 1) {
    const asked = Array.from({ length: 2_000 }, (_, index) => client.ensureUserProfile(who(`user_${round}_${index}`)));
    await Promise.all(asked);
  }

  assert.equal(1_000, client.stats().cached);
});

test("a call ends at its deadline, also while it waits for another one", async (context) => {
  const { server, client } = await serverAndClient(context, { deadlineMs: 150 });
  server.frozen = true;

  const start = performance.now();
  const outcomes = await Promise.allSettled(["ada", "bob", "eve"].map((user) => client.ensureUserProfile(who(user))));

  assert.ok(performance.now() - start < 1_500);
  assert.ok(
    outcomes.every((outcome) => outcome.status === "rejected" && outcome.reason instanceof clerksync.DeadlineExceeded),
  );
  assert.equal(3, client.stats().failures.deadline_exceeded);
});

test("a call that is stuck holds up the others for a tenth of a second, not until its deadline", async (context) => {
  const { server, client } = await clientInSync(context);
  server.frozen = true;
  const stuck = client.ensureUserProfile(who("ada"));
  stuck.catch(() => {});
  await until(() => server.calls.length === 1);
  await sleep(120);
  server.frozen = false;

  const start = performance.now();
  await client.ensureUserProfile(who("bob"));

  assert.ok(performance.now() - start < 500);
});

test("only UNAVAILABLE is tried again, and a server that comes back is found again", async (context) => {
  const { server, client } = await clientInSync(context);
  server.failure = { code: status.INTERNAL, reason: "INTERNAL" };
  await assert.rejects(client.ensureUserProfile(who("ada")), clerksync.CallFailed);
  assert.equal(1, server.calls.length);

  server.failure = { code: status.UNAVAILABLE, reason: "SHUTTING_DOWN" };
  await assert.rejects(client.ensureUserProfile(who("ada")), clerksync.Unavailable);
  assert.equal(4, server.calls.length, "three attempts");

  server.failure = undefined;
  server.stop();
  await assert.rejects(client.ensureUserProfile(who("ada")), clerksync.Unavailable);
  await server.listen();
  await until(() => {
    client.ensureUserProfile(who("ada")).catch(() => {});
    return client.stats().cached === 1;
  });
});

test("calls are shared out to all replicas", async (context) => {
  const servers = [await FakeServer.start(), await FakeServer.start()];
  const addresses = servers.map(({ address }) => address).join(",");
  const client = new SyncClient(`ipv4:${addresses}`);
  context.after(() => {
    client.close();
    for (const server of servers) {
      server.stop();
    }
  });

  for (let index = 0; index < 20; index += 1) {
    await client.ensureUserProfile(who(`user_${index}`));
    await sleep(5);
  }

  for (const server of servers) {
    assert.ok(server.calls.length >= 5, `${server.calls.length} calls`);
  }
});

test("close ends what is under way, and what comes later fails at once", async (context) => {
  const { server, client } = await clientInSync(context);
  server.frozen = true;
  const asked = ["ada", "bob"].map((user) => client.ensureUserProfile(who(user)));

  client.close();

  for (const answer of [
    ...asked,
    client.ensureUserProfile(who("eve")),
    client.ensureOrganization({ clerkOrgId: "o" }),
  ]) {
    await assert.rejects(answer, clerksync.ClientClosed);
  }
  assert.equal("closed", client.stats().watch);
});

test("options that make no sense are a RangeError", () => {
  for (const options of [{ deadlineMs: 0 }, { deadlineMs: Number.NaN }, { cacheSize: -1 }, { graceMs: 1e12 }]) {
    assert.throws(() => new SyncClient("localhost:1", options), RangeError);
  }
});
