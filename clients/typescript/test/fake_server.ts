// SyncService in process, with its real bytes on a real socket, and behaviour that tests can change at any time.
import { create, type DescMethod, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type Any, anyPack, timestampNow } from "@bufbuild/protobuf/wkt";
import {
  Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { UserProfileSchema } from "../src/gen/clerksync/v1/resources_pb.js";
import {
  type BatchEnsureUserProfilesRequest,
  type BatchEnsureUserProfilesResponse,
  BatchEnsureUserProfilesResponseSchema,
  type EnsureOrganizationRequest,
  type EnsureOrganizationResponse,
  EnsureOrganizationResponseSchema,
  EnsureOutcome,
  type EnsureUserProfileRequest,
  type EnsureUserProfileResponse,
  EnsureUserProfileResponseSchema,
  EnsureUserProfileResultSchema,
  SyncService,
  type WatchRemovalsRequest,
  type WatchRemovalsResponse,
  WatchRemovalsResponseSchema,
} from "../src/gen/clerksync/v1/sync_service_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../src/gen/google/rpc/status_pb.js";

/** An error as SyncService sends it. */
export interface Failure {
  readonly code: status;
  readonly reason?: string;
  /** Field → what is wrong with it. */
  readonly violations?: Record<string, string>;
}

type Watcher = ServerWritableStream<WatchRemovalsRequest, WatchRemovalsResponse>;

export class FakeServer {
  /** Milliseconds before an answer to an Ensure call. */
  delayMs = 0;
  /** What every call fails with. */
  failure: Failure | undefined;
  /** What asking for a user fails with. */
  readonly refusals = new Map<string, Failure>();
  /** Session tokens that are refused. */
  readonly badTokens = new Set<string>();
  /** Whether asking for a profile without a session token is refused. */
  mustProve = false;
  /** Whether no call is answered at all, and no stream says anything. */
  frozen = false;
  /** Milliseconds between checkpoints. */
  checkpointMs = 100;
  /** The users of each Ensure call, unary or batch, in the order of arrival. */
  readonly calls: string[][] = [];
  /** The position of each request to watch. */
  readonly watched: string[] = [];
  /** The session token of each request that carried one, in the order of arrival. */
  readonly sessionTokens: string[] = [];
  /** The metadata x-request-id of the last unary call. */
  requestId: string | undefined;
  address = "";
  readonly #rows = new Set<string>();
  readonly #watchers = new Set<Watcher>();
  #position = 0;
  /** Removals that a stream resumed from their position, or before it, is told. */
  readonly #history: { position: number; user: string; organization: string }[] = [];
  #server = new Server();

  static async start(): Promise<FakeServer> {
    const fake = new FakeServer();
    await fake.listen("127.0.0.1:0");
    return fake;
  }

  /** Begins to serve; after `stop` again, at the address it had. */
  async listen(address = this.address): Promise<void> {
    this.#server = new Server();
    const { ensureUserProfile, batchEnsureUserProfiles, ensureOrganization, watchRemovals } = SyncService.method;
    this.#server.addService(
      {
        one: definition(ensureUserProfile),
        many: definition(batchEnsureUserProfiles),
        organization: definition(ensureOrganization),
        watch: definition(watchRemovals),
      },
      {
        one: (
          call: ServerUnaryCall<EnsureUserProfileRequest, EnsureUserProfileResponse>,
          answer: sendUnaryData<EnsureUserProfileResponse>,
        ) => this.#one(call, answer),
        many: (
          call: ServerUnaryCall<BatchEnsureUserProfilesRequest, BatchEnsureUserProfilesResponse>,
          answer: sendUnaryData<BatchEnsureUserProfilesResponse>,
        ) => this.#many(call, answer),
        organization: (
          call: ServerUnaryCall<EnsureOrganizationRequest, EnsureOrganizationResponse>,
          answer: sendUnaryData<EnsureOrganizationResponse>,
        ) => {
          this.#remember([call.request]);
          answer(null, organizationAnswer(call.request.clerkOrgId));
        },
        watch: (call: Watcher) => this.#watch(call),
      },
    );
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    this.address = `127.0.0.1:${port}`;
  }

  /** Cuts all connections and stops listening. */
  stop(): void {
    this.#server.forceShutdown();
    this.#watchers.clear();
  }

  /** Removes a profile, a user (no organization) or an organization (no user), and tells all who watch. */
  remove(user: string, organization: string): void {
    this.#position += 1;
    this.#history.push({ position: this.#position, user, organization });
    for (const watcher of this.#watchers) {
      this.#say(watcher, { removals: [{ clerkUserId: user, clerkOrgId: organization }] });
    }
  }

  /** Tells all who watch to drop everything. */
  reset(): void {
    for (const watcher of this.#watchers) {
      this.#say(watcher, { reset: true });
    }
  }

  /** Ends all streams, as a replica does that stops. */
  endStreams(): void {
    for (const watcher of this.#watchers) {
      watcher.end();
    }
    this.#watchers.clear();
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  #remember(requests: readonly { readonly sessionToken: string }[]): void {
    this.sessionTokens.push(...requests.map(({ sessionToken }) => sessionToken).filter((token) => token !== ""));
  }

  async #one(
    call: ServerUnaryCall<EnsureUserProfileRequest, EnsureUserProfileResponse>,
    answer: sendUnaryData<EnsureUserProfileResponse>,
  ): Promise<void> {
    this.requestId = call.metadata.get("x-request-id")[0]?.toString();
    this.calls.push([call.request.clerkUserId]);
    this.#remember([call.request]);
    const outcome = this.#outcome(call.request); // The row is read now, and the answer may travel for long.
    await sleep(this.delayMs);
    if (this.frozen) {
      return;
    }
    const failure = this.failure ?? this.#refusal(call.request);
    if (failure === undefined) {
      answer(null, outcome);
    } else {
      const metadata = new Metadata();
      metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, statusOf(failure))));
      answer({ code: failure.code, details: "told by the fake", metadata });
    }
  }

  async #many(
    call: ServerUnaryCall<BatchEnsureUserProfilesRequest, BatchEnsureUserProfilesResponse>,
    answer: sendUnaryData<BatchEnsureUserProfilesResponse>,
  ): Promise<void> {
    this.calls.push(call.request.requests.map(({ clerkUserId }) => clerkUserId));
    this.#remember(call.request.requests);
    const results = call.request.requests.map((request) => {
      const failure = this.#refusal(request);
      return create(EnsureUserProfileResultSchema, {
        result: failure
          ? { case: "error", value: statusOf(failure) }
          : { case: "response", value: this.#outcome(request) },
      });
    });
    await sleep(this.delayMs);
    if (this.frozen) {
      return;
    }
    if (this.failure === undefined) {
      answer(null, create(BatchEnsureUserProfilesResponseSchema, { results }));
    } else {
      answer({ code: this.failure.code, details: "told by the fake" });
    }
  }

  #refusal({ clerkUserId, sessionToken }: EnsureUserProfileRequest): Failure | undefined {
    if (this.badTokens.has(sessionToken)) {
      return { code: status.UNAUTHENTICATED, reason: "SESSION_TOKEN_INVALID" };
    }
    if (this.mustProve && sessionToken === "") {
      return { code: status.UNAUTHENTICATED, reason: "SESSION_TOKEN_MISSING" };
    }
    return this.refusals.get(clerkUserId);
  }

  #outcome({ clerkUserId, clerkOrgId }: EnsureUserProfileRequest): EnsureUserProfileResponse {
    const key = `${clerkUserId} ${clerkOrgId}`;
    const outcome = this.#rows.has(key) ? EnsureOutcome.EXISTED : EnsureOutcome.CREATED;
    this.#rows.add(key);
    const [createTime, updateTime] = [timestampNow(), timestampNow()];
    const userProfile = create(UserProfileSchema, { id: key, clerkUserId, clerkOrgId, createTime, updateTime });
    return create(EnsureUserProfileResponseSchema, { userProfile, outcome });
  }

  #watch(call: Watcher): void {
    const { position } = call.request;
    this.watched.push(position);
    this.#watchers.add(call);
    const missed = this.#history.filter((removal) => position !== "" && removal.position > Number(position));
    this.#say(call, {
      reset: position === "",
      removals: missed.map(({ user, organization }) => ({ clerkUserId: user, clerkOrgId: organization })),
    });
    const checkpoints = setInterval(() => this.#say(call, {}), this.checkpointMs);
    call.on("close", () => {
      clearInterval(checkpoints);
      this.#watchers.delete(call);
    });
  }

  #say(watcher: Watcher, told: { reset?: boolean; removals?: { clerkUserId: string; clerkOrgId: string }[] }): void {
    if (!this.frozen) {
      watcher.write(create(WatchRemovalsResponseSchema, { position: String(this.#position), ...told }));
    }
  }
}

function definition<M extends DescMethod>(
  method: M,
): MethodDefinition<MessageShape<M["input"]>, MessageShape<M["output"]>> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: false,
    responseStream: method.methodKind === "server_streaming",
    requestSerialize: (message) => Buffer.from(toBinary(method.input, message)),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes) as MessageShape<M["input"]>,
    responseSerialize: (message) => Buffer.from(toBinary(method.output, message)),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes) as MessageShape<M["output"]>,
  };
}

function organizationAnswer(clerkOrgId: string): EnsureOrganizationResponse {
  const [createTime, updateTime] = [timestampNow(), timestampNow()];
  return create(EnsureOrganizationResponseSchema, {
    organization: { id: "1", clerkOrgId, name: clerkOrgId, isPlaceholder: true, createTime, updateTime },
    outcome: EnsureOutcome.CREATED,
  });
}

function statusOf(failure: Failure) {
  const details: Any[] = [];
  if (failure.reason !== undefined) {
    const info = create(ErrorInfoSchema, { domain: "clerksync", reason: failure.reason });
    details.push(anyPack(ErrorInfoSchema, info));
  }
  if (failure.violations !== undefined) {
    const fieldViolations = Object.entries(failure.violations).map(([field, description]) => ({ field, description }));
    details.push(anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations })));
  }
  return create(StatusSchema, { code: failure.code, message: "told by the fake", details });
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Waits until something holds, and fails after 5 s. */
export async function until(holds: () => boolean, limitMs = 5_000): Promise<void> {
  for (const start = performance.now(); !holds(); await sleep(5)) {
    if (performance.now() - start > limitMs) {
      throw new Error(`this did not come to hold within ${limitMs} ms: ${holds}`);
    }
  }
}
