// A service on plain node:http. Express, Fastify and Koa differ only in where the request's identity is kept.
//
// CLERKSYNC_TARGET=127.0.0.1:50051 PORT=8080 node node-http.js
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ensureForRequest, identityFromClaims, requestStats, SyncClient } from "../src/index.js"; // "@clerksync/client"

const client = new SyncClient(process.env.CLERKSYNC_TARGET ?? "dns:///clerksync:50051");

/**
 * The claims of the session token. Here they come from a header, so that the example runs without Clerk: in a service,
 * VERIFY the token, for example with `authenticateRequest` of @clerk/backend, and take the claims from that.
 */
function verifiedClaims(request: IncomingMessage): unknown {
  const header = request.headers["x-example-claims"];
  return typeof header === "string" ? JSON.parse(header) : null;
}

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === "/stats") {
    return answer(response, 200, { client: client.stats(), requests: requestStats(client) });
  }
  const outcome = await ensureForRequest(client, identityFromClaims(verifiedClaims(request)));
  switch (outcome.kind) {
    case "refused": // Removed or deleted: no member any more.
      return answer(response, 403, { error: "not a member of this organization" });
    case "profile":
      return answer(response, 200, { hello: outcome.profile.id });
    default: // Nobody is signed in, or SyncService could not be asked: the request goes on.
      return answer(response, 200, { hello: null });
  }
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

const server = createServer((request, response) => {
  handle(request, response).catch(() => answer(response, 500, { error: "unforeseen" }));
});
server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
process.on("SIGTERM", () => {
  server.close();
  client.close();
});
