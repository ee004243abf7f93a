// Listens to the stream of removals, so that the cache may keep what it was told.
import { create } from "@bufbuild/protobuf";
import { type Client, type ServiceError, status } from "@grpc/grpc-js";
import type { Removed } from "./cache.js";
import { stream } from "./connection.js";
import {
  SyncService,
  WatchRemovalsRequestSchema,
  type WatchRemovalsResponse,
} from "./gen/clerksync/v1/sync_service_pb.js";

/** SyncService says something every 2 s; after this long a stream is taken to be stuck. */
export const SILENCE_MS = 5_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
/** SyncService is older than this client and has no such method: ask again rarely. */
const PAUSE_IF_UNKNOWN_MS = 60_000;
/** A response that is this full is followed by the rest of what was missed. */
const FULL_RESPONSE = 1_000;

/** "idle" before the first use; "in_sync" while removals are told as they happen. */
export type WatchState = "idle" | "connecting" | "in_sync" | "waiting_to_reconnect" | "closed";

/** What is to be done about what was heard. */
export interface RemovalListener {
  /** These went away. */
  removed(removals: readonly Removed[]): void;
  /** Some may have been missed: everything that is kept is to be dropped. */
  reset(): void;
}

/** Keeps a stream open to one of the replicas, and resumes at another when it ends or falls silent. */
export class RemovalWatch {
  readonly #connect: () => Client;
  readonly #listener: RemovalListener;
  #state: WatchState = "idle";
  #lastHeard = Number.NEGATIVE_INFINITY;
  #position = "";
  #pauseMs = FIRST_PAUSE_MS;
  #breaks = 0;
  #stop: () => void = () => {};

  constructor(connect: () => Client, listener: RemovalListener) {
    this.#connect = connect;
    this.#listener = listener;
  }

  get state(): WatchState {
    return this.#state;
  }

  /** When the stream last said that nothing has gone unheard, by `performance.now()`; minus infinity if never. */
  get lastHeard(): number {
    return this.#lastHeard;
  }

  /** How often a stream has ended or fallen silent. */
  get breaks(): number {
    return this.#breaks;
  }

  /** Begins to listen, if it has not yet. */
  start(): void {
    if (this.#state === "idle") {
      this.#open();
    }
  }

  close(): void {
    this.#state = "closed";
    this.#stop();
  }

  #open(): void {
    this.#state = "connecting";
    // A connection of its own each time: one that is stuck would hold up the next stream on it as well.
    const client = this.#connect();
    const request = create(WatchRemovalsRequestSchema, { position: this.#position });
    const call = stream(client, SyncService.method.watchRemovals, request);
    let over = false;
    const end = (code?: status) => {
      if (!over) {
        over = true;
        clearTimeout(silence);
        call.cancel();
        client.close();
        this.#ended(code);
      }
    };
    const silence = setTimeout(end, SILENCE_MS).unref();
    this.#stop = () => end();
    call.on("data", (response: WatchRemovalsResponse) => {
      if (!over) {
        silence.refresh();
        this.#take(response);
      }
    });
    call.on("error", (error: ServiceError) => end(error.code));
    call.on("end", () => end());
  }

  #take(response: WatchRemovalsResponse): void {
    if (response.reset) {
      this.#listener.reset();
    }
    if (response.removals.length > 0) {
      this.#listener.removed(response.removals);
    }
    this.#position = response.position;
    this.#pauseMs = FIRST_PAUSE_MS;
    if (response.removals.length < FULL_RESPONSE) {
      this.#lastHeard = performance.now();
      this.#state = "in_sync";
    }
  }

  #ended(code: status | undefined): void {
    if (this.#state === "closed") {
      return;
    }
    this.#breaks += 1;
    this.#state = "waiting_to_reconnect";
    if (code === status.INVALID_ARGUMENT) {
      this.#position = ""; // No position that this replica understands: from now on, with a reset.
    }
    const pauseMs = code === status.UNIMPLEMENTED ? PAUSE_IF_UNKNOWN_MS : this.#pauseMs;
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
    const again = setTimeout(() => this.#open(), pauseMs * (0.5 + Math.random() / 2)).unref();
    this.#stop = () => clearTimeout(again);
  }
}
