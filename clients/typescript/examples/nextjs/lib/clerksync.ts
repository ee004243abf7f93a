// The one client of the process, and the profile of who makes a request. For the Node.js runtime only: the Edge runtime
// has no HTTP/2, so nothing that imports this may run there.
import { auth } from "@clerk/nextjs/server";
import { ensureForRequest, identityFromClaims, SyncClient, type UserProfile } from "@clerksync/client";

// Kept on globalThis, because a module is evaluated again by each hot reload, and once for each bundle it is part of:
// every time there would be another client, with its own cache and connections.
const kept = globalThis as typeof globalThis & { clerksyncClient?: SyncClient };

/** Connects on first use, so that `next build` needs no SyncService. */
export function syncClient(): SyncClient {
  kept.clerksyncClient ??= new SyncClient(process.env.CLERKSYNC_TARGET ?? "dns:///clerksync:50051");
  return kept.clerksyncClient;
}

/** For server components, server actions and route handlers. Null: nobody signed in, or nobody could be asked. */
export async function currentUserProfile(): Promise<UserProfile | null> {
  const outcome = await ensureForRequest(syncClient(), identityFromClaims(await auth()));
  return outcome.kind === "profile" ? outcome.profile : null;
}

/** Wraps a route handler: 403 to who was removed; otherwise the handler gets the profile, or null as above. */
export function withUserProfile<Context>(
  handler: (request: Request, profile: UserProfile | null, context: Context) => Response | Promise<Response>,
): (request: Request, context: Context) => Promise<Response> {
  return async (request, context) => {
    const outcome = await ensureForRequest(syncClient(), identityFromClaims(await auth()));
    if (outcome.kind === "refused") {
      return Response.json({ error: "not a member of this organization" }, { status: 403 });
    }
    return handler(request, outcome.kind === "profile" ? outcome.profile : null, context);
  };
}
