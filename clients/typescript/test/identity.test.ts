import assert from "node:assert/strict";
import { test } from "node:test";
import { identityFromClaims } from "../src/index.js";

const IAT = 1_763_812_800;
const ADA = { clerkUserId: "user_1", clerkOrgId: "org_1", tokenIssuedAt: new Date(IAT * 1000) };

test("the identity is read from claims of version 2 and 1, and from what auth() of @clerk/nextjs returns", () => {
  assert.deepEqual(ADA, identityFromClaims({ v: 2, sub: "user_1", o: { id: "org_1", rol: "admin" }, iat: IAT }));
  assert.deepEqual(ADA, identityFromClaims({ sub: "user_1", org_id: "org_1", iat: IAT }));
  assert.deepEqual(
    ADA,
    identityFromClaims({
      userId: "user_1",
      orgId: "org_1",
      sessionClaims: { sub: "user_1", iat: IAT },
      tokenType: "session_token",
    }),
  );
  assert.deepEqual(
    ADA,
    identityFromClaims({ sub: "user_1", o: { id: "org_1" }, iat: IAT, userId: "the application's own" }),
  );
});

test("there is no identity without a user or an active organization, or from a machine's token", () => {
  for (const claims of [
    null,
    undefined,
    "user_1",
    {},
    { sub: "user_1" },
    { sub: "user_1", o: {} },
    { sub: "", org_id: "org_1" },
    { sub: 1, org_id: "org_1" },
    { userId: null, orgId: null, sessionClaims: null },
    { userId: "user_1", orgId: undefined, sessionClaims: { iat: IAT } },
    { userId: "user_1", orgId: "org_1", tokenType: "api_key" },
  ]) {
    assert.equal(null, identityFromClaims(claims));
  }
});

test("an ill-formed time of issue counts as absent", () => {
  for (const iat of [undefined, "soon", Number.NaN, Number.POSITIVE_INFINITY, 1e300]) {
    assert.deepEqual(
      { clerkUserId: "user_1", clerkOrgId: "org_1" },
      identityFromClaims({ sub: "user_1", org_id: "org_1", iat }),
    );
  }
});
