import assert from "node:assert/strict";
import { test } from "node:test";
import { keyOf, ProfileCache } from "../src/cache.js";
import type { UserProfile } from "../src/resources.js";

const NEVER = Number.NEGATIVE_INFINITY;

function profile(clerkUserId: string, clerkOrgId: string): UserProfile {
  const time = new Date(0);
  return {
    id: "1",
    clerkUserId,
    clerkOrgId,
    role: undefined,
    clerkMembershipId: undefined,
    createTime: time,
    updateTime: time,
  };
}

function cacheWith(size: number, ...pairs: [string, string][]): ProfileCache {
  const cache = new ProfileCache({ size, ttlMs: 300_000, graceMs: 5_000 });
  for (const [user, organization] of pairs) {
    cache.put(keyOf(user, organization), profile(user, organization), 0);
  }
  return cache;
}

test("an entry is good for 5 s from when it was asked for, or from when the stream was last heard", () => {
  const cache = cacheWith(10, ["ada", "acme"]);
  const key = keyOf("ada", "acme");

  assert.ok(cache.get(key, 4_999, NEVER));
  assert.equal(cache.get(key, 5_000, NEVER), undefined);
  assert.ok(cache.get(key, 104_999, 100_000), "good again once the stream is heard");
  assert.equal(cache.get(key, 105_000, 100_000), undefined, "a stuck stream");
});

test("an entry is never good for longer than the TTL, however much is heard", () => {
  const cache = cacheWith(10, ["ada", "acme"]);
  const key = keyOf("ada", "acme");

  assert.ok(cache.get(key, 299_999, 299_999));
  assert.equal(cache.get(key, 300_000, 300_000), undefined);
  assert.equal(0, cache.count);
});

test("a removal drops the pair, or all pairs of the user or of the organization, and no other", () => {
  const pairs: [string, string][] = [
    ["ada", "acme"],
    ["ada", "beta"],
    ["bob", "acme"],
    ["bob", "beta"],
  ];
  const left = (clerkUserId: string, clerkOrgId: string) => {
    const cache = cacheWith(10, ...pairs);
    cache.remove({ clerkUserId, clerkOrgId });
    return pairs
      .filter(([user, organization]) => cache.get(keyOf(user, organization), 0, 0))
      .map((pair) => pair.join("@"));
  };

  assert.deepEqual(["ada@beta", "bob@acme", "bob@beta"], left("ada", "acme"));
  assert.deepEqual(["bob@acme", "bob@beta"], left("ada", ""));
  assert.deepEqual(["ada@beta", "bob@beta"], left("", "acme"));
  assert.deepEqual(["ada@acme", "ada@beta", "bob@acme", "bob@beta"], left("eve", "acme"));
});

test("the least recently used pair makes room", () => {
  const cache = cacheWith(2, ["ada", "acme"], ["bob", "acme"]);
  cache.get(keyOf("ada", "acme"), 0, 0);
  cache.put(keyOf("eve", "acme"), profile("eve", "acme"), 0);

  assert.ok(cache.get(keyOf("ada", "acme"), 0, 0));
  assert.equal(cache.get(keyOf("bob", "acme"), 0, 0), undefined);
  assert.ok(cache.get(keyOf("eve", "acme"), 0, 0));
});

test("a flood of 200,000 pairs leaves 100,000, and what is dropped leaves nothing in the indexes", () => {
  const cache = new ProfileCache({ size: 100_000, ttlMs: 300_000, graceMs: 5_000 });
  const before = process.memoryUsage().heapUsed;
  for (let index = 0; index < 200_000; index += 1) {
    const [user, organization] = [`user_${index}`, `org_${index % 50}`];
    cache.put(keyOf(user, organization), profile(user, organization), 0);
  }
  const bytesEach = (process.memoryUsage().heapUsed - before) / 100_000;

  assert.equal(100_000, cache.count);
  for (let index = 0; index < 50; index += 1) {
    cache.remove({ clerkUserId: "", clerkOrgId: `org_${index}` });
  }
  assert.equal(0, cache.count);
  assert.ok(bytesEach < 2_000, `${bytesEach} bytes for each pair`);
});

test("a hit stays cheap, however often one pair is asked for among many", () => {
  const cache = cacheWith(100_000);
  for (let index = 0; index < 100_000; index += 1) {
    cache.put(keyOf(`user_${index}`, "acme"), profile(`user_${index}`, "acme"), 0);
  }

  const start = performance.now();
  for (let times = 0; times < 200_000; times += 1) {
    cache.get(keyOf("user_5", "acme"), 0, 0);
  }

  assert.ok(performance.now() - start < 1_000, `${(performance.now() - start) / 200} µs for each`);
});

test("a pair that is put again is kept once, with the later answer and time", () => {
  const cache = cacheWith(2, ["ada", "acme"], ["bob", "acme"]);
  const key = keyOf("ada", "acme");
  const later = { ...profile("ada", "acme"), role: "org:admin" };
  cache.put(key, later, 4_000);
  cache.put(keyOf("eve", "acme"), profile("eve", "acme"), 4_000);

  assert.equal(2, cache.count);
  assert.equal(later, cache.get(key, 8_000, NEVER));
  cache.remove({ clerkUserId: "", clerkOrgId: "acme" });
  assert.equal(0, cache.count);
  cache.put(key, later, 9_000);
  assert.equal(later, cache.get(key, 9_000, NEVER));
});

test("a cache of size 0 keeps nothing", () => {
  assert.equal(0, cacheWith(0, ["ada", "acme"]).count);
});
