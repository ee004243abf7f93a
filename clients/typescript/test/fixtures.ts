// A server and a client for a test, closed after it.
import type { TestContext } from "node:test";
import { type Identity, SyncClient, type SyncClientOptions } from "../src/index.js";
import { FakeServer, until } from "./fake_server.js";

export async function serverAndClient(
  context: TestContext,
  options: SyncClientOptions = {},
): Promise<{ server: FakeServer; client: SyncClient }> {
  const server = await FakeServer.start();
  const client = new SyncClient(server.address, options);
  context.after(() => {
    client.close();
    server.stop();
  });
  return { server, client };
}

/** A client that is told of removals already: what it asks from now on is kept. */
export async function clientInSync(
  context: TestContext,
  options: SyncClientOptions = {},
): Promise<{ server: FakeServer; client: SyncClient }> {
  const { server, client } = await serverAndClient(context, options);
  await client.ensureUserProfile(who("warm"));
  await until(() => client.stats().watch === "in_sync");
  server.calls.length = 0;
  return { server, client };
}

export function who(user: string, organization = "org_acme", tokenIssuedAt?: Date): Identity {
  return { clerkUserId: user, clerkOrgId: organization, tokenIssuedAt };
}
