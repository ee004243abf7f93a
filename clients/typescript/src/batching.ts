// Gathers the misses that wait at the same time into one call. No timer sends: a lone miss leaves at once, and a batch
// leaves when the call before it has returned. A call that is stuck holds up the others for a moment only: then the
// next miss that comes sends what is waiting past it.
import type { Removed } from "./cache.js";
import { keyOf } from "./cache.js";
import { ClerksyncError, ClientClosed, DeadlineExceeded, Unavailable } from "./errors.js";
import type { Identity } from "./identity.js";
import type { UserProfile } from "./resources.js";

/** What SyncService takes in one call. */
export const MAX_BATCH = 1_000;
/** How large a call may be, in bytes; SyncService takes messages of 1.5 MiB. Only session tokens make one that large. */
export const MAX_BYTES = 1024 * 1024;
/** The most bytes that a question takes in a call besides ids and token: its time, the tags, the lengths. */
const BESIDES = 32;
/** More pairs than this do not wait: SyncService is too slow for them, and memory is not to grow. */
export const MAX_WAITING = 10_000;
const STUCK_AFTER_MS = 100;
const MOST_ON_THE_WAY = 4;

/** What a call for a profile has brought. */
export interface EnsuredProfile {
  readonly profile: UserProfile;
  /** Whether this call created the row; of those who shared it, only the first is told so. */
  readonly created: boolean;
}

/** Metadata of gRPC that travels with a call, for example `x-request-id`. */
export type CallMetadata = Readonly<Record<string, string>>;

/** A pair to be asked for, and all who wait for its outcome. */
export interface Question {
  readonly key: string;
  /** What those who share it have in common. */
  readonly sharedBy: string;
  readonly clerkUserId: string;
  readonly clerkOrgId: string;
  readonly metadata: CallMetadata;
  /** The latest that is known of the token; grows until the question is sent. */
  tokenIssuedAt: Date | undefined;
  /** The token itself, where SyncService is to verify it. */
  readonly sessionToken: string | undefined;
  /** When the last of those who wait gives up. */
  deadline: number;
  sent: boolean;
  /** Whether a removal of it was heard since it was sent: then the answer may be older than the removal. */
  overtaken: boolean;
  readonly waiters: Set<Waiter>;
}

interface Waiter {
  readonly resolve: (answer: EnsuredProfile) => void;
  readonly reject: (error: ClerksyncError) => void;
  readonly timer: NodeJS.Timeout;
}

/** Asks; gives an outcome for each question, in their order. Never rejects. */
export type Send = (questions: readonly Question[]) => Promise<readonly (EnsuredProfile | ClerksyncError)[]>;

/** All misses of one client. */
export class Batcher {
  readonly #send: Send;
  readonly #now: () => number;
  /** The question that others may join, by what they share. */
  readonly #open = new Map<string, Question>();
  readonly #onTheWay = new Set<readonly Question[]>();
  #waiting: Question[] = [];
  #lastLeftAt = 0;
  #closed = false;

  constructor(send: Send, now: () => number = () => performance.now()) {
    this.#send = send;
    this.#now = now;
  }

  /** How many pairs wait to be asked for. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Asks for a pair, or joins who asks for it already. Rejects with DeadlineExceeded when `deadlineMs` have passed. */
  ask(identity: Identity, deadlineMs: number, metadata: CallMetadata, joined: () => void): Promise<EnsuredProfile> {
    if (this.#closed) {
      return Promise.reject(new ClientClosed("the client is closed"));
    }
    const key = keyOf(identity.clerkUserId, identity.clerkOrgId);
    const sharedBy = shared(key, identity.sessionToken);
    const open = this.#open.get(sharedBy);
    if (open !== undefined && joins(open, identity)) {
      joined();
      return this.#wait(open, deadlineMs);
    }
    if (this.#waiting.length >= MAX_WAITING) {
      return Promise.reject(new Unavailable(`${MAX_WAITING} others wait for SyncService already`));
    }
    const question: Question = {
      key,
      sharedBy,
      clerkUserId: identity.clerkUserId,
      clerkOrgId: identity.clerkOrgId,
      metadata,
      tokenIssuedAt: identity.tokenIssuedAt,
      sessionToken: identity.sessionToken,
      deadline: 0,
      sent: false,
      overtaken: false,
      waiters: new Set(),
    };
    this.#open.set(sharedBy, question);
    this.#waiting.push(question);
    const answer = this.#wait(question, deadlineMs);
    const stuck = this.#now() - this.#lastLeftAt >= STUCK_AFTER_MS && this.#onTheWay.size < MOST_ON_THE_WAY;
    if (this.#onTheWay.size === 0 || stuck) {
      void this.#leave();
    }
    return answer;
  }

  /** Marks the questions on the way whose answers may be older than these removals; "all" means every one. */
  overtake(removals: readonly Removed[] | "all"): void {
    if (this.#onTheWay.size === 0) {
      return;
    }
    const removed = removals === "all" ? undefined : new RemovedSet(removals);
    for (const batch of this.#onTheWay) {
      for (const question of batch) {
        question.overtaken ||= removed?.has(question) ?? true;
      }
    }
  }

  /** Ends all that wait with ClientClosed. */
  close(): void {
    this.#closed = true;
    const error = new ClientClosed("the client was closed");
    for (const question of [...this.#waiting, ...[...this.#onTheWay].flat()]) {
      this.#settle(question, error);
    }
    this.#waiting = [];
  }

  #wait(question: Question, deadlineMs: number): Promise<EnsuredProfile> {
    question.deadline = Math.max(question.deadline, this.#now() + deadlineMs);
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        question.waiters.delete(waiter);
        reject(new DeadlineExceeded("the answer did not come in time"));
      };
      const waiter: Waiter = { resolve, reject, timer: setTimeout(giveUp, deadlineMs) };
      question.waiters.add(waiter);
    });
  }

  /** Sends what is waiting, and after that what has come to wait meanwhile. */
  async #leave(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#next();
      if (batch.length > 0) {
        this.#lastLeftAt = this.#now();
        this.#onTheWay.add(batch);
        const outcomes = await this.#send(batch);
        this.#onTheWay.delete(batch);
        batch.forEach((question, index) => {
          this.#settle(question, outcomes[index] ?? new Unavailable("no answer for this one"));
        });
      }
    }
  }

  /** The next questions to be sent, without those for which nobody waits any more. */
  #next(): readonly Question[] {
    const taken = this.#waiting.splice(0, fitting(this.#waiting));
    return taken.filter((question) => {
      question.sent = question.waiters.size > 0;
      if (!question.sent) {
        this.#forget(question);
      }
      return question.sent;
    });
  }

  #settle(question: Question, outcome: EnsuredProfile | ClerksyncError): void {
    this.#forget(question);
    let first = true;
    for (const waiter of question.waiters) {
      clearTimeout(waiter.timer);
      if (outcome instanceof ClerksyncError) {
        waiter.reject(outcome);
      } else {
        waiter.resolve(first ? outcome : { profile: outcome.profile, created: false });
      }
      first = false;
    }
    question.waiters.clear();
  }

  #forget(question: Question): void {
    if (this.#open.get(question.sharedBy) === question) {
      this.#open.delete(question.sharedBy);
    }
  }
}

/** With a session token its text is shared as well: of two tokens that say the same one may be forged, and its
 * refusal, or what the other one is told, is not for both. No id holds a space. */
function shared(key: string, sessionToken: string | undefined): string {
  return sessionToken === undefined ? key : `${key} ${sessionToken}`;
}

/** How many of those who wait one call has room for; a single one always fits. */
function fitting(waiting: readonly Question[]): number {
  let room = MAX_BYTES;
  const most = Math.min(waiting.length, MAX_BATCH);
  for (const [index, { key, sessionToken }] of waiting.slice(0, most).entries()) {
    room -= key.length + (sessionToken?.length ?? 0) + BESIDES; // All of it is ASCII.
    if (room < 0) {
      return index;
    }
  }
  return most;
}

/** Whether the outcome of a question will also be that of a sign-in then: not if the one may be refused and the other
 * not. A question that has not left takes up the later time, which proves more. */
function joins(question: Question, { tokenIssuedAt: issuedAt }: Identity): boolean {
  const { tokenIssuedAt } = question;
  if (question.overtaken) {
    return false; // Who asks now is to hear of the removal.
  }
  if (issuedAt === undefined || tokenIssuedAt === undefined) {
    return issuedAt === tokenIssuedAt;
  }
  if (issuedAt > tokenIssuedAt) {
    if (question.sent) {
      return false;
    }
    question.tokenIssuedAt = issuedAt;
  }
  return true;
}

/** Removals, to be looked up by pair. */
class RemovedSet {
  readonly #pairs = new Set<string>();

  constructor(removals: readonly Removed[]) {
    for (const { clerkUserId, clerkOrgId } of removals) {
      this.#pairs.add(keyOf(clerkUserId, clerkOrgId));
    }
  }

  has({ key, clerkUserId, clerkOrgId }: Question): boolean {
    return this.#pairs.has(key) || this.#pairs.has(keyOf(clerkUserId, "")) || this.#pairs.has(keyOf("", clerkOrgId));
  }
}
