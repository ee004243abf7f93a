// A script that uses a client and does not close it.
import { SyncClient } from "../src/index.js";
import { sleep } from "./fake_server.js";

const client = new SyncClient(process.argv[2] ?? "");
await client.ensureUserProfile({ clerkUserId: "ada", clerkOrgId: "acme" });
await sleep(300);
console.log(client.stats().watch);
