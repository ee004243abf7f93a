// What the Python test of the whole stack runs: uses the SyncService at the given address, says what came of it in
// JSON, a line for each step, and goes on when a line comes in. With the files of a CA, a key and a certificate it
// speaks TLS.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { credentials } from "@grpc/grpc-js";
import { MembershipRemoved, SessionTokenRefused, SyncClient } from "../src/index.js";
import { until } from "./fake_server.js";

const [address = "", organization = "", ...files] = process.argv.slice(2);
const [ca, key, certificate] = files.map((file) => readFileSync(file));
const client = new SyncClient(address, ca ? { credentials: credentials.createSsl(ca, key, certificate) } : {});
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tokenIssuedAt = new Date();

function identity(user: string) {
  return { clerkUserId: user, clerkOrgId: organization, tokenIssuedAt };
}

function reasonOf(error: unknown): string {
  return error instanceof SessionTokenRefused ? error.reason : String(error);
}

/** The steps, each by the word that asks for it. */
const steps: Record<string, () => Promise<unknown>> = {
  single: async () => {
    const { profile, created } = await client.ensureUserProfile(identity("user_ada"));
    return { user: profile.clerkUserId, created };
  },
  // The first one leaves alone, and the rest while it is on its way: one batch.
  batch: async () => {
    const { calls } = client.stats();
    const users = Array.from({ length: 20 }, (_, index) => `user_${index}`);
    const answers = await Promise.all(users.map((user) => client.ensureUserProfile(identity(user))));
    return { created: answers.filter(({ created }) => created).length, calls: client.stats().calls - calls };
  },
  // Tokens that are looked at, and are none.
  long_tokens: async () => {
    const sessionToken = "x".repeat(8_192);
    const users = Array.from({ length: 1_000 }, (_, index) => `${index}`.padStart(255, "0"));
    const refused = await Promise.all(
      users.map((clerkUserId) =>
        client.ensureUserProfile({ ...identity(clerkUserId), sessionToken }, { deadlineMs: 60_000 }).catch(reasonOf),
      ),
    );
    return [...new Set(refused)];
  },
  organization: async () => {
    const { organization: found, created } = await client.ensureOrganization({ clerkOrgId: organization });
    return { id: found.clerkOrgId, created };
  },
  in_sync: async () => {
    await client.ensureUserProfile(identity("user_ada"));
    await until(() => client.stats().watch === "in_sync");
    await client.ensureUserProfile(identity("user_ada"));
    return { kept: client.cachedUserProfile(identity("user_ada")) !== undefined };
  },
  dropped: async () => {
    await until(() => client.cachedUserProfile(identity("user_ada")) === undefined);
    return { removals: client.stats().removals };
  },
  removed: async () => {
    const ask = () => client.ensureUserProfile(identity("user_ada"));
    const alone = await ask().catch((error) => error);
    const [, inBatch] = await Promise.all([
      client.ensureUserProfile(identity("user_somebody")),
      ask().catch((error) => error),
    ]);
    return [alone, inBatch].map((error) => (error instanceof MembershipRemoved ? error.reason : String(error)));
  },
};

for (let line = await input.next(); !line.done; line = await input.next()) {
  const step = steps[line.value];
  console.log(JSON.stringify(step ? await step() : `no step ${line.value}`));
}
client.close();
