// What only shows between real processes.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ensureForRequest, SyncClient } from "../src/index.js";
import { FakeServer, sleep } from "./fake_server.js";
import { who } from "./fixtures.js";

/** Starts a script of this folder, and gives the first line it prints. It ends with the test. */
async function start(context: TestContext, script: string, args: string[] = [], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [fileURLToPath(new URL(script, import.meta.url)), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, NODE_TEST_CONTEXT: "", ...env },
  });
  context.after(() => {
    child.kill("SIGCONT");
    child.kill("SIGKILL");
  });
  const [line] = await once(child.stdout, "data");
  return { child, line: String(line).trim() };
}

async function exitOf(child: ChildProcess, limitMs: number): Promise<unknown> {
  return (
    child.exitCode ?? Promise.race([once(child, "exit").then(([code]) => code), sleep(limitMs).then(() => "runs")])
  );
}

test("a client that is not closed, its watch open, does not keep its process alive", async (context) => {
  const server = await FakeServer.start();
  context.after(() => server.stop());

  const { child, line } = await start(context, "uses_and_ends.js", [server.address]);

  assert.equal("in_sync", line);
  assert.equal(0, await exitOf(child, 2_000));
});

test("while SyncService is frozen, requests wait for their budget at most, and then for nothing", async (context) => {
  const { child, line } = await start(context, "fake_process.js");
  const client = new SyncClient(line);
  context.after(() => client.close());
  const logger = { warn: () => {} };
  await client.ensureUserProfile(who("warm"));
  child.kill("SIGSTOP");

  const took: number[] = [];
  for (let index = 0; index < 20; index += 1) {
    const start = performance.now();
    const outcome = await ensureForRequest(client, who(`user_${index}`), { logger });
    took.push(performance.now() - start);
    assert.equal("unknown", outcome.kind);
  }
  assert.ok(Math.max(...took) < 500, `${Math.max(...took)} ms`);
  assert.ok(took.filter((ms) => ms < 20).length >= 12, "the breaker is open");

  child.kill("SIGCONT");
  await sleep(1_100);
  assert.equal("profile", (await ensureForRequest(client, who("back"), { logger, budgetMs: 1_000 })).kind);
});

test("the example on node:http says 200 with a profile, 403 to who was removed, 200 when nobody can be asked", async (context) => {
  const syncService = await start(context, "fake_process.js");
  const env = { CLERKSYNC_TARGET: syncService.line, PORT: "0" };
  const example = await start(context, "../examples/node-http.js", [], env);
  const address = example.line.replace("listening on ", "");
  const get = async (claims?: object) => {
    const headers = claims ? { "x-example-claims": JSON.stringify(claims) } : {};
    const response = await fetch(address, { headers });
    return [response.status, await response.json()];
  };
  const ada = { sub: "user_ada", o: { id: "org_acme" }, iat: Math.floor(Date.now() / 1000) };

  assert.deepEqual([200, { hello: null }], await get());
  await get(ada); // The first one may take longer than the budget: it connects.
  await sleep(500);
  assert.deepEqual([200, { hello: "user_ada org_acme" }], await get(ada));
  assert.deepEqual([403, { error: "not a member of this organization" }], await get({ ...ada, sub: "user_removed" }));
  syncService.child.kill("SIGKILL");
  assert.deepEqual([200, { hello: null }], await get({ ...ada, sub: "user_bob" }));

  example.child.kill("SIGTERM");
  assert.equal(0, await exitOf(example.child, 3_000));
});
