/**
 * What can go wrong, as callers see it.
 *
 * ClerksyncError
 * ├── Refused                  an answer: the profile may not be made
 * │   ├── MembershipRemoved      removed from the organization after the token was issued
 * │   ├── UserDeleted            deleted in Clerk; final
 * │   ├── OrganizationDeleted    deleted in Clerk; final
 * │   ├── EvidenceTooOld         the token is older than removals are remembered
 * │   └── SessionTokenRefused    the session token is missing, not valid, or disagrees with the request
 * ├── InvalidRequest           an ill-formed id or time: the caller's mistake
 * ├── Unavailable              no answer now; the same call may succeed later
 * │   ├── DeadlineExceeded       not in time
 * │   ├── CircuitOpen            not asked, because it has failed too often just now
 * │   └── ClientClosed           not asked, because the client is closed
 * └── CallFailed               any other failure: SyncService is broken or older than the client
 */

/** What metrics call a failure: one word of a closed set. */
export type FailureKind =
  | "refused"
  | "invalid_request"
  | "unavailable"
  | "deadline_exceeded"
  | "circuit_open"
  | "client_closed"
  | "call_failed";

/** On every error, whichever copy of this module made it: bundlers may have made several of it. */
const MARK: unique symbol = Symbol.for("clerksync.error") as never;

/** Whether something thrown is a ClerksyncError; unlike `instanceof` also across copies of this package. */
export function isClerksyncError(thrown: unknown): thrown is ClerksyncError {
  return thrown instanceof Error && MARK in thrown;
}

/** The root. Texts hold no ids. */
export abstract class ClerksyncError extends Error {
  readonly [MARK] = true;

  /** What metrics call it. */
  abstract readonly kind: FailureKind;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An answer: the profile, or the organization, does not exist and may not be made. */
export class Refused extends ClerksyncError {
  override readonly kind = "refused";

  constructor(
    message: string,
    /** The reason of the `google.rpc.ErrorInfo`, for example "MEMBERSHIP_REMOVED". Later servers may have more. */
    readonly reason: string,
  ) {
    super(message);
  }
}

/** The user was removed from the organization after the token was issued. A newer token may bring them back. */
export class MembershipRemoved extends Refused {}

/** The user was deleted in Clerk. Final. */
export class UserDeleted extends Refused {}

/** The organization was deleted in Clerk. Final. */
export class OrganizationDeleted extends Refused {}

/** The token is older than removals are remembered (90 days by default), so it proves nothing. */
export class EvidenceTooOld extends Refused {}

/** The session token is missing, not valid, or disagrees with the request; `reason` tells which. */
export class SessionTokenRefused extends Refused {}

/** Ids or a time are ill-formed. */
export class InvalidRequest extends ClerksyncError {
  override readonly kind = "invalid_request";

  constructor(
    message: string,
    /** What is wrong with each field, by the field's name in the contract. */
    readonly violations: Readonly<Record<string, string>>,
  ) {
    super(message);
  }
}

/** SyncService could not be asked, or could not answer, now. */
export class Unavailable extends ClerksyncError {
  override readonly kind: FailureKind = "unavailable";
}

/** The answer did not come in time. The call may have had its effect. */
export class DeadlineExceeded extends Unavailable {
  override readonly kind = "deadline_exceeded";
}

/** SyncService was not asked, because asking has failed too often just now. */
export class CircuitOpen extends Unavailable {
  override readonly kind = "circuit_open";
}

/** The client was closed. */
export class ClientClosed extends Unavailable {
  override readonly kind = "client_closed";
}

/** The call failed, and the same again would fail as well. */
export class CallFailed extends ClerksyncError {
  override readonly kind = "call_failed";

  constructor(
    message: string,
    /** The gRPC code's name, for example "INTERNAL". */
    readonly code: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
