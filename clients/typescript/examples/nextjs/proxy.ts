// Next 16. In Next 15.5 name this file middleware.ts and add `runtime: "nodejs"` to `config`: the default there is the
// Edge runtime, which has no HTTP/2. Before 15.5 leave it out, and use withUserProfile in the route handlers.
import { clerkMiddleware } from "@clerk/nextjs/server";
import { ensureForRequest, identityFromClaims } from "@clerksync/client";
import { NextResponse } from "next/server";
import { syncClient } from "./lib/clerksync";

export default clerkMiddleware(async (auth) => {
  // Makes sure that the row is there before a page reads the tables. What pages ask afterwards is a hit.
  const outcome = await ensureForRequest(syncClient(), identityFromClaims(await auth()));
  if (outcome.kind === "refused") {
    return NextResponse.json({ error: "not a member of this organization" }, { status: 403 });
  }
  return NextResponse.next();
});

export const config = {
  matcher: ["/((?!_next|.*\\..*).*)"],
};
