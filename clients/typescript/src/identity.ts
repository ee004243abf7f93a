// Who is signed in, and to which organization, as Clerk tells.

/** A user who is signed in with an organization active. */
export interface Identity {
  /** Claim `sub`. 1 to 255 printable ASCII characters without spaces. */
  readonly clerkUserId: string;
  /** Claim `o.id`, in older tokens `org_id`. 1 to 255 printable ASCII characters without spaces. */
  readonly clerkOrgId: string;
  /** When Clerk issued the session token (claim `iat`); pass it whenever it is known. */
  readonly tokenIssuedAt?: Date | undefined;
  /** The session token itself, for a SyncService that verifies it. */
  readonly sessionToken?: string | undefined;
}

/**
 * Reads the claims of a session token that has been VERIFIED, or what `auth()` of @clerk/nextjs returns.
 *
 * Null without a user or an active organization, and for machine tokens (API keys, M2M, OAuth), which prove no
 * membership. Understands version 2 of Clerk's tokens (`o.id`) and version 1 (`org_id`). What is ill-formed counts as
 * absent.
 */
export function identityFromClaims(claims: unknown): Identity | null {
  if (!isRecord(claims)) {
    return null;
  }
  // Claims always have `sub`, and may have a `userId` of the application's own; what auth() returns has no `sub`.
  if (claims.sub === undefined && "userId" in claims) {
    if (claims.tokenType !== undefined && claims.tokenType !== "session_token") {
      return null;
    }
    const session = isRecord(claims.sessionClaims) ? claims.sessionClaims : {};
    return identityOf(claims.userId, claims.orgId, session.iat);
  }
  const organization = isRecord(claims.o) ? claims.o.id : claims.org_id;
  return identityOf(claims.sub, organization, claims.iat);
}

const ID = /^[!-~]{1,255}$/;
const TOKEN = /^[!-~]{1,8192}$/;
/** The years 1 and 9999, beyond which protobuf has no time. */
const [EARLIEST, LATEST] = [-62_135_596_800_000, 253_402_300_799_999];

/**
 * What SyncService would find wrong with the fields, by their names in the contract.
 *
 * Checked before a call, because one field that cannot be encoded would fail the whole batch that it travels in.
 */
export function violationsOf(
  ids: Readonly<Record<string, unknown>>,
  tokenIssuedAt: unknown,
  sessionToken?: unknown,
): Record<string, string> {
  const violations: Record<string, string> = {};
  for (const [name, id] of Object.entries(ids)) {
    if (typeof id !== "string" || !ID.test(id)) {
      violations[name] = "expected 1 to 255 printable ASCII characters without spaces";
    }
  }
  if (tokenIssuedAt !== undefined) {
    const time = tokenIssuedAt instanceof Date ? tokenIssuedAt.getTime() : Number.NaN;
    if (!(time >= EARLIEST && time <= LATEST)) {
      violations.token_issued_at = "expected a Date within the years 1 to 9999";
    }
  }
  if (sessionToken !== undefined && !(typeof sessionToken === "string" && TOKEN.test(sessionToken))) {
    violations.session_token = "expected the JWT as Clerk issued it, at most 8,192 characters";
  }
  return violations;
}

function identityOf(user: unknown, organization: unknown, issuedAt: unknown): Identity | null {
  if (typeof user !== "string" || user === "" || typeof organization !== "string" || organization === "") {
    return null;
  }
  const identity = { clerkUserId: user, clerkOrgId: organization };
  const date = typeof issuedAt === "number" ? new Date(issuedAt * 1000) : undefined;
  return date === undefined || Number.isNaN(date.getTime()) ? identity : { ...identity, tokenIssuedAt: date };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
