import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { CircuitBreaker } from "../src/breaker.js";
import { CircuitOpen, ensureForRequest, MembershipRemoved, requestStats, SessionTokenRefused } from "../src/index.js";
import { sleep, until } from "./fake_server.js";
import { clientInSync, serverAndClient, who } from "./fixtures.js";

function linesTo(lines: string[]) {
  return { logger: { warn: (line: string) => lines.push(line) } };
}

test("a request gets its profile; nobody signed in is anonymous", async (context) => {
  const { client } = await serverAndClient(context);

  const outcome = await ensureForRequest(client, who("ada"), { budgetMs: 1_000 });

  assert.equal("ada", outcome.kind === "profile" && outcome.profile.clerkUserId);
  assert.deepEqual({ kind: "anonymous" }, await ensureForRequest(client, null));
});

test("a request waits for a frozen server no longer than its budget, and the late answer is kept", async (context) => {
  const { server, client } = await clientInSync(context);
  server.delayMs = 1_000;

  const start = performance.now();
  const outcome = await ensureForRequest(client, who("ada"), linesTo([]));
  const took = performance.now() - start;

  assert.equal("unknown", outcome.kind);
  assert.ok(took < 500, `${took} ms`);
  await until(() => client.cachedUserProfile(who("ada")) !== undefined);
  assert.equal("profile", (await ensureForRequest(client, who("ada"))).kind);
});

test("a definite refusal is told, or lets pass if that is wanted; it never opens the breaker", async (context) => {
  const { server, client } = await serverAndClient(context);
  server.refusals.set("ada", { code: status.FAILED_PRECONDITION, reason: "MEMBERSHIP_REMOVED" });
  const lines: string[] = [];

  for (let times = 0; times < 10; times += 1) {
    const outcome = await ensureForRequest(client, who("ada"), { budgetMs: 1_000 });
    assert.ok(outcome.kind === "refused" && outcome.error instanceof MembershipRemoved);
  }
  const passed = await ensureForRequest(client, who("ada"), {
    budgetMs: 1_000,
    onRemoved: "continue",
    ...linesTo(lines),
  });

  assert.ok(passed.kind === "unknown" && passed.error instanceof MembershipRemoved);
  assert.deepEqual([], lines);
  const { refused, unknown, breaker } = requestStats(client);
  assert.deepEqual([10, { refused: 1 }, "closed"], [refused, unknown, breaker]);
});

test("one line tells of many failures, without ids", async (context) => {
  const { server, client } = await serverAndClient(context);
  server.failure = { code: status.INTERNAL, reason: "INTERNAL" };
  const lines: string[] = [];
  const options = { budgetMs: 1_000, logIntervalMs: 500, ...linesTo(lines) };

  for (let times = 0; times < 20; times += 1) {
    await ensureForRequest(client, who("ada"), options);
  }
  assert.deepEqual(["clerksync: a request goes on without its profile: call_failed"], lines);
  await sleep(550);
  await ensureForRequest(client, who("ada"), options);

  assert.match(
    lines[1] ?? "",
    /^clerksync: a request goes on without its profile: \w+ \(and 19 more since the last line\)$/,
  );
  assert.equal(
    21,
    Object.values(requestStats(client).unknown).reduce((sum, count) => sum + count, 0),
  );
});

test("after 5 failures nothing is asked for a second; hits pass; one try closes the breaker again", async (context) => {
  const { server, client } = await clientInSync(context);
  const options = { budgetMs: 1_000, ...linesTo([]) };
  await ensureForRequest(client, who("known"), options);
  server.failure = { code: status.INTERNAL, reason: "INTERNAL" };
  for (let times = 0; times < 5; times += 1) {
    await ensureForRequest(client, who("ada"), options);
  }
  const calls = server.calls.length;

  const skipped = await ensureForRequest(client, who("ada"), options);
  assert.ok(skipped.kind === "unknown" && skipped.error instanceof CircuitOpen);
  assert.equal("profile", (await ensureForRequest(client, who("known"), options)).kind);
  assert.equal(calls, server.calls.length);
  assert.equal("open", requestStats(client).breaker);

  server.failure = undefined;
  await sleep(1_050);
  const outcomes = await Promise.all(["ada", "bob", "eve"].map((user) => ensureForRequest(client, who(user), options)));

  assert.deepEqual(
    ["profile", "unknown", "unknown"],
    outcomes.map(({ kind }) => kind),
  );
  assert.equal(calls + 1, server.calls.length);
  assert.equal("closed", requestStats(client).breaker);
});

test("each pause of the breaker is twice the one before, at most 30 s", () => {
  let now = 0;
  const breaker = new CircuitBreaker(
    () => now,
    () => 0,
  );
  for (let times = 0; times < 5; times += 1) {
    assert.ok(breaker.allows());
    breaker.failed();
  }
  for (const pause of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
    now += pause - 1;
    assert.equal(false, breaker.allows(), `after ${pause - 1} ms`);
    now += 1;
    assert.ok(breaker.allows());
    assert.equal(false, breaker.allows(), "one try only");
    breaker.failed();
  }
  now += 30_000;
  breaker.allows();
  breaker.succeeded();
  assert.equal("closed", breaker.state);
});

test("answers that come late close the breaker again", async (context) => {
  const { server, client } = await clientInSync(context);
  server.delayMs = 150;
  const users = ["ada", "bob", "eve", "kim", "lea", "max", "ned", "una"];

  const outcomes = await Promise.all(users.map((user) => ensureForRequest(client, who(user), linesTo([]))));

  assert.deepEqual(
    users.map(() => "unknown"),
    outcomes.map((outcome) => outcome.kind),
  );
  assert.equal("open", requestStats(client).breaker);
  await until(() => requestStats(client).breaker === "closed", 900);
});

test("a token that is too old denies nobody", async (context) => {
  const { server, client } = await serverAndClient(context);
  server.refusals.set("ada", { code: status.FAILED_PRECONDITION, reason: "EVIDENCE_TOO_OLD" });

  const outcome = await ensureForRequest(client, who("ada"), { budgetMs: 1_000 });

  assert.equal("unknown", outcome.kind);
});

test("a session token that is refused undoes no removal: who sends it is asked about without one", async (context) => {
  const { server, client } = await serverAndClient(context);
  server.badTokens.add("a.b.forged");
  server.refusals.set("ada", { code: status.FAILED_PRECONDITION, reason: "MEMBERSHIP_REMOVED" });
  const options = { budgetMs: 1_000 };

  for (const sessionToken of ["a.b.good", "a.b.forged", "no token"]) {
    assert.equal("refused", (await ensureForRequest(client, { ...who("ada"), sessionToken }, options)).kind);
  }
  const member = await ensureForRequest(client, { ...who("bob"), sessionToken: "a.b.forged" }, options);

  assert.equal("profile", member.kind);
  assert.deepEqual(["a.b.good", "a.b.forged", "a.b.forged"], server.sessionTokens);
});

test("where each request has to prove its session, one with a refused token is unknown, and told why", async (context) => {
  const { server, client } = await serverAndClient(context);
  server.badTokens.add("a.b.forged");
  server.mustProve = true;

  const outcome = await ensureForRequest(client, { ...who("ada"), sessionToken: "a.b.forged" }, { budgetMs: 1_000 });

  assert.ok(outcome.kind === "unknown" && outcome.error instanceof SessionTokenRefused);
  assert.equal("SESSION_TOKEN_INVALID", outcome.error.reason);
});
