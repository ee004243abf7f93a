// The policy for a request: SyncService may be slow, away or broken, and the request goes on all the same.
import { type BreakerState, CircuitBreaker } from "./breaker.js";
import type { EnsuredProfile } from "./batching.js";
import type { SyncClient } from "./client.js";
import {
  CallFailed,
  CircuitOpen,
  type ClerksyncError,
  DeadlineExceeded,
  type FailureKind,
  type InvalidRequest,
  isClerksyncError,
  type Refused,
} from "./errors.js";
import type { Identity } from "./identity.js";
import type { UserProfile } from "./resources.js";

/** How a request is treated. */
export interface RequestOptions {
  /** How long the request waits for SyncService, in milliseconds. Default 50. The call itself goes on for the cache. */
  readonly budgetMs?: number;
  /** What a definite refusal leads to. Default "refuse": the outcome is "refused". */
  readonly onRemoved?: "refuse" | "continue";
  /** Where the one line goes that tells of requests without an answer. Default: `console`. */
  readonly logger?: { warn(line: string): void };
  /** The shortest time between two such lines of one client, in milliseconds. Default 10,000. */
  readonly logIntervalMs?: number;
  /** gRPC metadata, for example `x-request-id` or `traceparent`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** What a request knows about its user. It goes on, unless it is "refused". */
export type RequestOutcome =
  /** The user is a member; this is the row. */
  | { readonly kind: "profile"; readonly profile: UserProfile; readonly created: boolean }
  /** Nobody is signed in, or no organization is active. */
  | { readonly kind: "anonymous" }
  /** The user is no member any more: answer 403. */
  | { readonly kind: "refused"; readonly error: Refused }
  /** Nobody could be asked; or the user was refused, and `onRemoved` is "continue". */
  | { readonly kind: "unknown"; readonly error: ClerksyncError };

/** What the requests of one client came to. */
export interface RequestStats {
  /** Requests that were refused. */
  readonly refused: number;
  /** Requests that went on without an answer, by the kind of failure. */
  readonly unknown: Readonly<Partial<Record<FailureKind, number>>>;
  readonly breaker: BreakerState;
}

interface Guard {
  readonly breaker: CircuitBreaker;
  readonly unknown: Partial<Record<FailureKind, number>>;
  refused: number;
  lastLineAt: number;
  unsaid: number;
}

const guards = new WeakMap<SyncClient, Guard>();

/** What denies a request. A token that is too old proves nothing, which is not to say that the user was removed. */
const removals: ReadonlySet<string> = new Set(["MEMBERSHIP_REMOVED", "USER_DELETED", "ORGANIZATION_DELETED"]);

/**
 * Ensures the profile of who makes a request, within the budget. Never rejects.
 *
 * Hits of the cache cost nothing and pass an open breaker. After 5 failures in a row SyncService is not asked for 1 s,
 * then for twice as long each time, up to 30 s.
 */
export async function ensureForRequest(
  client: SyncClient,
  identity: Identity | null,
  options: RequestOptions = {},
): Promise<RequestOutcome> {
  if (identity === null) {
    return { kind: "anonymous" };
  }
  const guard = guardOf(client);
  const kept = client.cachedUserProfile(identity) !== undefined;
  if (!kept && !guard.breaker.allows()) {
    return goesOn(guard, new CircuitOpen("not asked: it has failed too often just now"), options);
  }
  const call = ask(client, identity, options);
  try {
    const { profile, created } = await within(options.budgetMs ?? 50, call);
    if (!kept) {
      guard.breaker.succeeded(); // A hit says nothing about SyncService.
    }
    return { kind: "profile", profile, created };
  } catch (thrown) {
    const error = isClerksyncError(thrown) ? thrown : new CallFailed("unforeseen", "UNKNOWN", { cause: thrown });
    if (error.kind === "refused" || error.kind === "invalid_request") {
      guard.breaker.succeeded(); // An answer, if not a welcome one.
    } else {
      guard.breaker.failed();
      // An answer that comes late shows that SyncService answers.
      call.then(
        () => guard.breaker.succeeded(),
        () => {},
      );
    }
    if (error.kind === "refused" && removals.has((error as Refused).reason) && options.onRemoved !== "continue") {
      guard.refused += 1;
      return { kind: "refused", error: error as Refused };
    }
    return goesOn(guard, error, options);
  }
}

/** What was counted for a client's requests so far. */
export function requestStats(client: SyncClient): RequestStats {
  const { refused, unknown, breaker } = guardOf(client);
  return { refused, unknown: { ...unknown }, breaker: breaker.state };
}

function guardOf(client: SyncClient): Guard {
  let guard = guards.get(client);
  if (guard === undefined) {
    guard = {
      breaker: new CircuitBreaker(),
      unknown: {},
      refused: 0,
      lastLineAt: Number.NEGATIVE_INFINITY,
      unsaid: 0,
    };
    guards.set(client, guard);
  }
  return guard;
}

/**
 * A session token that is refused tells nothing of the user, who may have chosen what the request carries. So SyncService
 * is asked once more without one: what holds then is what its policy has for this service.
 */
async function ask(client: SyncClient, identity: Identity, options: RequestOptions): Promise<EnsuredProfile> {
  const call = options.metadata ? { metadata: options.metadata } : {};
  try {
    return await client.ensureUserProfile(identity, call);
  } catch (refused) {
    if (identity.sessionToken === undefined || !isAboutToken(refused)) {
      throw refused;
    }
    return await client.ensureUserProfile({ ...identity, sessionToken: undefined }, call).catch((error) => {
      throw isAboutToken(error) ? refused : error; // The first one tells what is wrong with the token.
    });
  }
}

function isAboutToken(error: unknown): boolean {
  if (!isClerksyncError(error)) {
    return false;
  }
  return error.kind === "invalid_request"
    ? Object.keys((error as InvalidRequest).violations).join() === "session_token"
    : error.kind === "refused" && (error as Refused).reason.startsWith("SESSION_TOKEN_");
}

/** The answer, or DeadlineExceeded after the budget. A later outcome is for the cache only. */
async function within<T>(budgetMs: number, call: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineExceeded(`no answer within ${budgetMs} ms`)), budgetMs);
  });
  try {
    return await Promise.race([call, over]);
  } finally {
    clearTimeout(timer);
    call.catch(() => {});
  }
}

function goesOn(guard: Guard, error: ClerksyncError, options: RequestOptions): RequestOutcome {
  guard.unknown[error.kind] = (guard.unknown[error.kind] ?? 0) + 1;
  if (error.kind === "client_closed" || error.kind === "refused") {
    return { kind: "unknown", error }; // Meant so by whoever closed the client or chose to let refused users pass.
  }
  const now = performance.now();
  if (now - guard.lastLineAt < (options.logIntervalMs ?? 10_000)) {
    guard.unsaid += 1;
    return { kind: "unknown", error };
  }
  const more = guard.unsaid > 0 ? ` (and ${guard.unsaid} more since the last line)` : "";
  guard.lastLineAt = now;
  guard.unsaid = 0;
  // The kind only: messages come from elsewhere and might name somebody.
  (options.logger ?? console).warn(`clerksync: a request goes on without its profile: ${error.kind}${more}`);
  return { kind: "unknown", error };
}
