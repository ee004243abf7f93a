// The client: cache in front, misses gathered behind, removals heard on the side.
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ChannelCredentials, ChannelOptions, Client } from "@grpc/grpc-js";
import { Batcher, type CallMetadata, type EnsuredProfile, type Question } from "./batching.js";
import { keyOf, ProfileCache } from "./cache.js";
import { call, connect, connectForWatch } from "./connection.js";
import { CallFailed, ClerksyncError, ClientClosed, type FailureKind, InvalidRequest } from "./errors.js";
import {
  BatchEnsureUserProfilesRequestSchema,
  EnsureOrganizationRequestSchema,
  EnsureOutcome,
  EnsureUserProfileRequestSchema,
  type EnsureUserProfileResponse,
  type EnsureUserProfileResult,
  SyncService,
} from "./gen/clerksync/v1/sync_service_pb.js";
import { type Identity, violationsOf } from "./identity.js";
import { type Organization, organizationFromPb, type UserProfile, userProfileFromPb } from "./resources.js";
import { errorFromStatus } from "./status.js";
import { RemovalWatch, type WatchState } from "./watch.js";

/** What a client can be told when it is made. */
export interface SyncClientOptions {
  /** How long a call may take, in milliseconds, waiting included. Default 2,000. */
  readonly deadlineMs?: number;
  /** The most profiles that are kept. Default 100,000. 0 keeps none, and does not listen for removals. */
  readonly cacheSize?: number;
  /** The longest time that a profile is kept, in milliseconds: how old a role may be. Default 300,000 (5 min). */
  readonly cacheTtlMs?: number;
  /** How long a profile is good while nothing is heard of removals, in milliseconds. Default 5,000. */
  readonly graceMs?: number;
  /** For TLS, from @grpc/grpc-js. Without them the connection is plaintext HTTP/2. */
  readonly credentials?: ChannelCredentials;
  /** More options of the gRPC channels, as grpc-js takes them; they win over the client's own. */
  readonly channelOptions?: ChannelOptions;
}

/** What a single call can be told. */
export interface CallOptions {
  /** How long this call may take, in milliseconds, waiting included. Default: the client's. */
  readonly deadlineMs?: number;
  /** gRPC metadata, for example `x-request-id` or `traceparent`. A call that travels in a batch leaves it out. */
  readonly metadata?: CallMetadata;
}

/** What an organization was asked for with. */
export interface OrganizationIdentity {
  /** 1 to 255 printable ASCII characters without spaces. */
  readonly clerkOrgId: string;
  /** When Clerk issued the session token (claim `iat`). */
  readonly tokenIssuedAt?: Date | undefined;
  /** The session token itself, for a SyncService that verifies it. */
  readonly sessionToken?: string | undefined;
}

/** What a call for an organization has brought. */
export interface EnsuredOrganization {
  readonly organization: Organization;
  /** Whether this call created the row. */
  readonly created: boolean;
}

/** What a client has counted since it was made. */
export interface ClientStats {
  /** Answered from the cache. */
  readonly hits: number;
  /** Had to ask SyncService. */
  readonly misses: number;
  /** Misses among them that joined another one for the same pair. */
  readonly coalesced: number;
  /** RPCs sent; with batches fewer than misses. */
  readonly calls: number;
  /** Calls of `ensure…` that failed, by kind. */
  readonly failures: Readonly<Partial<Record<FailureKind, number>>>;
  /** Removals heard of. */
  readonly removals: number;
  /** Times that all was dropped because removals may have been missed. */
  readonly resets: number;
  /** Times that the stream of removals ended or was silent for 5 s. */
  readonly watchBreaks: number;
  readonly watch: WatchState;
  /** Profiles that are kept, expired ones included. */
  readonly cached: number;
  /** Pairs that wait for the call before them. */
  readonly waiting: number;
}

/** Asks SyncService for profiles, and keeps the answers until they are told to be over. One for each process. */
export class SyncClient {
  readonly #deadlineMs: number;
  readonly #channel: Client;
  readonly #cache: ProfileCache;
  readonly #watch: RemovalWatch;
  readonly #batcher: Batcher;
  readonly #listens: boolean;
  readonly #failures: Partial<Record<FailureKind, number>> = {};
  readonly #counts = { hits: 0, misses: 0, coalesced: 0, calls: 0, removals: 0, resets: 0 };
  #closed = false;

  /**
   * @param address "host:port", or "dns:///host:port" to share the calls out to all replicas behind the name.
   *
   * Connects on first use. An idle client keeps no process alive.
   */
  constructor(address: string, options: SyncClientOptions = {}) {
    const size = options.cacheSize ?? 100_000;
    if (!(size >= 0)) {
      throw new RangeError("cacheSize: expected 0 or more");
    }
    const target = { address, credentials: options.credentials, channelOptions: options.channelOptions };
    this.#deadlineMs = milliseconds("deadlineMs", options.deadlineMs ?? 2_000);
    this.#cache = new ProfileCache({
      size,
      ttlMs: milliseconds("cacheTtlMs", options.cacheTtlMs ?? 300_000),
      graceMs: milliseconds("graceMs", options.graceMs ?? 5_000),
    });
    this.#listens = size > 0;
    this.#batcher = new Batcher((questions) => this.#send(questions));
    this.#channel = connect(target);
    this.#watch = new RemovalWatch(() => connectForWatch(target), {
      removed: (removals) => {
        this.#counts.removals += removals.length;
        this.#batcher.overtake(removals);
        for (const removal of removals) {
          this.#cache.remove(removal);
        }
      },
      reset: () => {
        this.#counts.resets += 1;
        this.#batcher.overtake("all");
        this.#cache.clear();
      },
    });
  }

  /**
   * The profile of a user in an organization, from the cache or from SyncService, which makes it if it is missing.
   *
   * Call it after authentication, with what the verified session token says. Rejects with a ClerksyncError.
   */
  async ensureUserProfile(identity: Identity, options: CallOptions = {}): Promise<EnsuredProfile> {
    const profile = this.cachedUserProfile(identity);
    if (profile !== undefined) {
      this.#counts.hits += 1;
      return { profile, created: false };
    }
    this.#counts.misses += 1;
    const deadlineMs = milliseconds("deadlineMs", options.deadlineMs ?? this.#deadlineMs);
    return this.#counted(this.#ask(identity, deadlineMs, options.metadata ?? {}));
  }

  /** The profile if the cache has it now; asks nobody and counts nothing. */
  cachedUserProfile({ clerkUserId, clerkOrgId }: Identity): UserProfile | undefined {
    return this.#cache.get(keyOf(clerkUserId, clerkOrgId), performance.now(), this.#watch.lastHeard);
  }

  /** An organization; SyncService makes a placeholder if it is missing. Not cached. Rejects with a ClerksyncError. */
  async ensureOrganization(identity: OrganizationIdentity, options: CallOptions = {}): Promise<EnsuredOrganization> {
    const deadlineMs = milliseconds("deadlineMs", options.deadlineMs ?? this.#deadlineMs);
    return this.#counted(this.#askOrganization(identity, deadlineMs, options.metadata ?? {}));
  }

  /** What was counted so far. */
  stats(): ClientStats {
    return {
      ...this.#counts,
      failures: { ...this.#failures },
      watchBreaks: this.#watch.breaks,
      watch: this.#watch.state,
      cached: this.#cache.count,
      waiting: this.#batcher.waiting,
    };
  }

  /** Ends all calls with ClientClosed and closes the connections. Later calls fail at once. */
  close(): void {
    this.#closed = true;
    this.#watch.close();
    this.#batcher.close();
    this.#cache.clear();
    this.#channel.close();
  }

  async #counted<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof ClerksyncError) {
        this.#failures[error.kind] = (this.#failures[error.kind] ?? 0) + 1;
      }
      throw error;
    }
  }

  async #ask(identity: Identity, deadlineMs: number, metadata: CallMetadata): Promise<EnsuredProfile> {
    const { clerkUserId, clerkOrgId, tokenIssuedAt, sessionToken } = identity;
    refuseIllFormed({ clerk_user_id: clerkUserId, clerk_org_id: clerkOrgId }, tokenIssuedAt, sessionToken);
    if (this.#listens && !this.#closed) {
      this.#watch.start();
    }
    return this.#batcher.ask(identity, deadlineMs, metadata, () => {
      this.#counts.coalesced += 1;
    });
  }

  async #askOrganization(identity: OrganizationIdentity, deadlineMs: number, metadata: CallMetadata) {
    refuseIllFormed({ clerk_org_id: identity.clerkOrgId }, identity.tokenIssuedAt, identity.sessionToken);
    if (this.#closed) {
      throw new ClientClosed("the client is closed");
    }
    this.#counts.calls += 1;
    const request = create(EnsureOrganizationRequestSchema, {
      clerkOrgId: identity.clerkOrgId,
      ...issued(identity.tokenIssuedAt),
      ...proven(identity.sessionToken),
    });
    const response = await call(this.#channel, SyncService.method.ensureOrganization, request, deadlineMs, metadata);
    const created = response.outcome === EnsureOutcome.CREATED;
    return { organization: organizationFromPb(response.organization), created };
  }

  /** Asks for all questions in one call, and keeps the answers that no removal has overtaken. Never rejects. */
  async #send(questions: readonly Question[]): Promise<(EnsuredProfile | ClerksyncError)[]> {
    const askedAt = performance.now();
    const deadlineMs = Math.max(1, ...questions.map((question) => question.deadline - askedAt));
    this.#counts.calls += 1;
    try {
      const [only] = questions;
      const results =
        questions.length === 1 && only !== undefined
          ? [await this.#askOne(only, deadlineMs)]
          : await this.#askMany(questions, deadlineMs);
      return questions.map((question, index) => this.#take(question, results[index], askedAt));
    } catch (error) {
      const told = error instanceof ClerksyncError ? error : new CallFailed("unforeseen", "UNKNOWN", { cause: error });
      return questions.map(() => told);
    }
  }

  async #askOne(question: Question, deadlineMs: number): Promise<EnsureUserProfileResult["result"]> {
    const method = SyncService.method.ensureUserProfile;
    const value = await call(this.#channel, method, requestOf(question), deadlineMs, question.metadata);
    return { case: "response", value };
  }

  async #askMany(questions: readonly Question[], deadlineMs: number): Promise<EnsureUserProfileResult["result"][]> {
    const method = SyncService.method.batchEnsureUserProfiles;
    const request = create(BatchEnsureUserProfilesRequestSchema, { requests: questions.map(requestOf) });
    const { results } = await call(this.#channel, method, request, deadlineMs, {});
    return results.map(({ result }) => result);
  }

  #take(question: Question, result: EnsureUserProfileResult["result"] | undefined, askedAt: number) {
    if (result?.case === "error") {
      return errorFromStatus(result.value);
    }
    if (result?.case !== "response") {
      return new CallFailed("the answer lacks what the contract promises", "INTERNAL");
    }
    const answer = ensured(result.value);
    if (!question.overtaken && !this.#closed) {
      this.#cache.put(question.key, answer.profile, askedAt);
    }
    return answer;
  }
}

function requestOf(question: Question) {
  const { clerkUserId, clerkOrgId, tokenIssuedAt, sessionToken } = question;
  return create(EnsureUserProfileRequestSchema, {
    clerkUserId,
    clerkOrgId,
    ...issued(tokenIssuedAt),
    ...proven(sessionToken),
  });
}

function ensured(response: EnsureUserProfileResponse): EnsuredProfile {
  return { profile: userProfileFromPb(response.userProfile), created: response.outcome === EnsureOutcome.CREATED };
}

function issued(date: Date | undefined) {
  return date === undefined ? {} : { tokenIssuedAt: timestampFromDate(date) };
}

function proven(sessionToken: string | undefined) {
  return sessionToken === undefined ? {} : { sessionToken };
}

function refuseIllFormed(...fields: Parameters<typeof violationsOf>): void {
  const violations = violationsOf(...fields);
  if (Object.keys(violations).length > 0) {
    throw new InvalidRequest(`ill-formed: ${Object.keys(violations).join(", ")}`, violations);
  }
}

/** Milliseconds within what a timer can hold, or RangeError. */
function milliseconds(name: string, value: number): number {
  if (!(value > 0 && value <= 86_400_000)) {
    throw new RangeError(`${name}: expected more than 0 and at most 86,400,000 ms`);
  }
  return value;
}
