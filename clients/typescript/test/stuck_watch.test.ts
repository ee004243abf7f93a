import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep, until } from "./fake_server.js";
import { clientInSync, who } from "./fixtures.js";

test("a quiet stream keeps an entry good past 5 s; a stuck one ends it within 5 s and is opened anew", async (context) => {
  const { server, client } = await clientInSync(context);
  await client.ensureUserProfile(who("ada"));

  await sleep(5_500);
  assert.ok(client.cachedUserProfile(who("ada")), "quiet");

  server.frozen = true;
  const stuckSince = performance.now();
  await until(() => client.cachedUserProfile(who("ada")) === undefined, 8_000);
  assert.ok(performance.now() - stuckSince < 6_000);
  await until(() => server.watched.length === 2, 8_000);
  server.frozen = false;
  await until(() => client.stats().watch === "in_sync" && client.cachedUserProfile(who("ada")) !== undefined);
});
