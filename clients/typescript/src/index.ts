/** The client of clerksync's SyncService for Node. What is not exported here may change. */
export type { CallMetadata, EnsuredProfile } from "./batching.js";
export type { BreakerState } from "./breaker.js";
export {
  type CallOptions,
  type ClientStats,
  type EnsuredOrganization,
  type OrganizationIdentity,
  SyncClient,
  type SyncClientOptions,
} from "./client.js";
export * from "./errors.js";
export {
  ensureForRequest,
  type RequestOptions,
  type RequestOutcome,
  type RequestStats,
  requestStats,
} from "./guard.js";
export { type Identity, identityFromClaims } from "./identity.js";
export type { Organization, UserProfile } from "./resources.js";
export type { WatchState } from "./watch.js";
