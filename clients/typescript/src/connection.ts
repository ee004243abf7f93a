// The gRPC calls. grpc-js is given protobuf-es's messages; nothing else here knows either.
import { type DescMethod, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type ChannelCredentials, type ChannelOptions, Client, credentials, Metadata } from "@grpc/grpc-js";
import type { CallMetadata } from "./batching.js";
import { errorFromCall } from "./status.js";
import { unreferenced } from "./unreferenced.js";

const SERVICE = "clerksync.v1.SyncService";

const COMMON: ChannelOptions = {
  // After an outage the default would wait up to two minutes before it tries to connect again.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // A frozen replica, or a cut network, is noticed within 17 s. SyncService allows a ping every 10 s.
  "grpc.keepalive_time_ms": 12_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 1,
  // DNS is asked anew at most every 5 s, so that new replicas are found soon after a roll-out.
  "grpc.dns_min_time_between_resolutions_ms": 5_000,
  // The settings below are the client's; DNS is not asked for others.
  "grpc.service_config_disable_resolution": 1,
  // Connections are this client's own: closing it must not touch those of another one.
  "grpc.use_local_subchannel_pool": 1,
};

const CALLS = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: ["EnsureUserProfile", "BatchEnsureUserProfiles", "EnsureOrganization"].map((method) => ({
        service: SERVICE,
        method,
      })),
      retryPolicy: {
        maxAttempts: 3,
        initialBackoff: "0.02s",
        maxBackoff: "0.2s",
        backoffMultiplier: 3,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};

/** The watch needs one replica, another one each time; it resumes by its position and is not repeated by the channel. */
const WATCH = { loadBalancingConfig: [{ pick_first: { shuffleAddressList: true } }] };

/** Where SyncService is, and how to get there. */
export interface Target {
  /** As grpc-js takes it: "host:port", or "dns:///host:port" for all replicas that the name resolves to. */
  readonly address: string;
  /** For TLS. Without them the connection is plaintext HTTP/2. */
  readonly credentials?: ChannelCredentials | undefined;
  /** More options of the channel; they win over the client's own. */
  readonly channelOptions?: ChannelOptions | undefined;
}

/** A channel for the unary calls, over all replicas. */
export function connect(target: Target): Client {
  return open(target, CALLS, target.credentials ?? credentials.createInsecure());
}

/** A channel for the watch, to one replica. It does not keep the process alive. */
export function connectForWatch(target: Target): Client {
  return open(target, WATCH, unreferenced(target.credentials ?? credentials.createInsecure()));
}

function open(target: Target, serviceConfig: object, channelCredentials: ChannelCredentials): Client {
  return new Client(target.address, channelCredentials, {
    ...COMMON,
    "grpc.service_config": JSON.stringify(serviceConfig),
    ...target.channelOptions,
  });
}

/** Makes a unary call. Rejects with a ClerksyncError. `deadlineMs` counts from now. */
export function call<M extends DescMethod>(
  client: Client,
  method: M,
  request: MessageShape<M["input"]>,
  deadlineMs: number,
  metadata: CallMetadata,
): Promise<MessageShape<M["output"]>> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest<MessageShape<M["input"]>, MessageShape<M["output"]>>(
      pathOf(method),
      (message) => Buffer.from(toBinary(method.input, message)),
      (bytes) => fromBinary(method.output, bytes) as MessageShape<M["output"]>,
      request,
      metadataOf(metadata),
      { deadline: Date.now() + deadlineMs },
      (error, response) => {
        if (error !== null || response === undefined) {
          reject(errorFromCall(error));
        } else {
          resolve(response);
        }
      },
    );
  });
}

/** A stream of answers that lasts until it ends or is cancelled. */
export function stream<M extends DescMethod>(client: Client, method: M, request: MessageShape<M["input"]>) {
  return client.makeServerStreamRequest<MessageShape<M["input"]>, MessageShape<M["output"]>>(
    pathOf(method),
    (message) => Buffer.from(toBinary(method.input, message)),
    (bytes) => fromBinary(method.output, bytes) as MessageShape<M["output"]>,
    request,
  );
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function metadataOf(values: CallMetadata): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(values)) {
    metadata.set(name, value);
  }
  return metadata;
}
