import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep, until } from "./fake_server.js";
import { clientInSync, serverAndClient, who } from "./fixtures.js";

const IN_SYNC = "in_sync";

test("a removal drops the pair, a user's removal all its pairs, an organization's all of its", async (context) => {
  const { server, client } = await clientInSync(context);
  const pairs = [who("ada", "acme"), who("ada", "beta"), who("bob", "acme"), who("bob", "beta"), who("eve", "beta")];
  const left = async (user: string, organization: string) => {
    await Promise.all(pairs.map((pair) => client.ensureUserProfile(pair)));
    const before = client.stats().removals;
    server.remove(user, organization);
    await until(() => client.stats().removals === before + 1);
    return pairs.flatMap((pair, index) => (client.cachedUserProfile(pair) ? [index] : []));
  };

  assert.deepEqual([1, 2, 3, 4], await left("ada", "acme"));
  assert.deepEqual([2, 3, 4], await left("ada", ""));
  assert.deepEqual([0, 2], await left("", "beta"));
});

test("the answer to a call that began before a removal was heard is given, and not kept", async (context) => {
  const { server, client } = await clientInSync(context);
  server.delayMs = 300;

  for (const [user, organization] of [
    ["ada", "org_acme"],
    ["ada", ""],
    ["", "org_acme"],
  ] as const) {
    const [calls, removals] = [server.calls.length, client.stats().removals];
    const answer = client.ensureUserProfile(who("ada"));
    await until(() => server.calls.length === calls + 1);
    server.remove(user, organization);
    await until(() => client.stats().removals === removals + 1);

    assert.equal("ada", (await answer).profile.clerkUserId);
    assert.equal(undefined, client.cachedUserProfile(who("ada")));
  }
});

test("who asks after a removal was heard does not share the answer to a call from before it", async (context) => {
  const { server, client } = await clientInSync(context);
  server.delayMs = 300;

  const before = client.ensureUserProfile(who("ada"));
  await until(() => server.calls.length === 1);
  server.remove("ada", "org_acme");
  await until(() => client.stats().removals === 1);
  const after = client.ensureUserProfile(who("ada"));
  await Promise.all([before, after]);

  assert.deepEqual([["ada"], ["ada"]], server.calls);
});

test("a removal of somebody else does not touch a call under way", async (context) => {
  const { server, client } = await clientInSync(context);
  server.delayMs = 50;

  const answer = client.ensureUserProfile(who("ada"));
  await until(() => server.calls.length === 1);
  server.remove("bob", "org_acme");
  server.remove("ada", "org_beta");
  await answer;

  assert.ok(client.cachedUserProfile(who("ada")));
});

test("a reset drops everything, and answers under way are not kept", async (context) => {
  const { server, client } = await clientInSync(context);
  await client.ensureUserProfile(who("bob"));
  const before = client.stats().resets;
  server.delayMs = 300;
  const answer = client.ensureUserProfile(who("ada"));
  await until(() => server.calls.at(-1)?.[0] === "ada");

  server.reset();
  await until(() => client.stats().resets === before + 1);
  await answer;

  assert.equal(0, client.stats().cached);
});

test("a stream that ends is resumed by its position, and what was removed meanwhile is told then", async (context) => {
  const { server, client } = await clientInSync(context);
  server.remove("somebody", "org_acme");
  await until(() => client.stats().removals === 1);
  await client.ensureUserProfile(who("ada"));
  await client.ensureUserProfile(who("bob"));

  server.endStreams();
  server.remove("ada", "org_acme");
  await until(() => client.stats().removals === 2);

  assert.deepEqual(["", "1"], server.watched);
  assert.equal(undefined, client.cachedUserProfile(who("ada")));
  assert.ok(client.cachedUserProfile(who("bob")));
  assert.equal(1, client.stats().watchBreaks);
});

test("the watch comes back after SyncService was away", async (context) => {
  const { server, client } = await serverAndClient(context);
  await client.ensureUserProfile(who("ada"));
  await until(() => client.stats().watch === IN_SYNC);

  server.stop();
  await until(() => client.stats().watch !== IN_SYNC);
  await sleep(300);
  assert.ok(client.cachedUserProfile(who("ada")) === undefined || client.stats().cached === 1);
  await server.listen();

  await until(() => client.stats().watch === IN_SYNC);
});

test("without a cache nothing is watched", async (context) => {
  const { server, client } = await serverAndClient(context, { cacheSize: 0 });
  await client.ensureUserProfile(who("ada"));
  await client.ensureUserProfile(who("ada"));

  assert.equal(2, server.calls.length);
  assert.equal("idle", client.stats().watch);
});
