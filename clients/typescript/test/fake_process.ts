// The fake SyncService as a process of its own: one that can be stopped, frozen and killed. Prints its address.
import { status } from "@grpc/grpc-js";
import { FakeServer } from "./fake_server.js";

const server = await FakeServer.start();
server.refusals.set("user_removed", { code: status.FAILED_PRECONDITION, reason: "MEMBERSHIP_REMOVED" });
console.log(server.address);
process.stdin.resume().on("end", () => process.exit()); // Ends with whoever started it.
