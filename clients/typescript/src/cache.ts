// Positive answers, bounded, each good for as long as nobody can have been removed unheard.
import type { UserProfile } from "./resources.js";

/** What went away: a profile, all profiles of a user (no organization), or of an organization (no user). */
export interface Removed {
  readonly clerkUserId: string;
  readonly clerkOrgId: string;
}

/** One pair, and its place in the order of use. */
interface Entry {
  readonly key: string;
  profile: UserProfile;
  /** When the call that brought it started: SyncService may have read the row no earlier. */
  askedAt: number;
  older: Entry | undefined;
  newer: Entry | undefined;
}

/** The pair as one string. A space is no part of an id, so no two pairs share one. */
export function keyOf(clerkUserId: string, clerkOrgId: string): string {
  return `${clerkUserId} ${clerkOrgId}`;
}

/** A bounded LRU of profiles with indexes by user and by organization. Times are milliseconds of one steady clock. */
export class ProfileCache {
  readonly #size: number;
  readonly #ttlMs: number;
  readonly #graceMs: number;
  // The order of use is a list of its own. Deleting and setting a key again at each hit would keep it in the Map, but
  // V8 leaves deleted keys in their bucket for long, and at 100,000 pairs a hit of one hot key then takes 0.2 ms.
  readonly #entries = new Map<string, Entry>();
  #newest: Entry | undefined;
  #oldest: Entry | undefined;
  readonly #byUser = new KeyIndex();
  readonly #byOrganization = new KeyIndex();

  constructor(limits: { size: number; ttlMs: number; graceMs: number }) {
    this.#size = limits.size;
    this.#ttlMs = limits.ttlMs;
    this.#graceMs = limits.graceMs;
  }

  /** How many pairs are kept, expired ones included. */
  get count(): number {
    return this.#entries.size;
  }

  /**
   * The profile, while it is younger than the TTL and something was heard of removals, or it was asked for, within the
   * grace: a quiet stream keeps an entry good, and a stuck one shortens its life to the grace by itself.
   */
  get(key: string, now: number, lastHeard: number): UserProfile | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      return undefined;
    }
    if (now - entry.askedAt >= this.#ttlMs) {
      this.#drop(entry);
      return undefined;
    }
    if (now - Math.max(entry.askedAt, lastHeard) >= this.#graceMs) {
      return undefined; // Kept: it is good again once the stream has caught up.
    }
    this.#unlink(entry);
    this.#link(entry);
    return entry.profile;
  }

  /** Keeps a profile, in place of the least recently used one if there are too many. */
  put(key: string, profile: UserProfile, askedAt: number): void {
    if (this.#size === 0) {
      return;
    }
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { key, profile, askedAt, older: undefined, newer: undefined };
      this.#entries.set(key, entry);
      this.#byUser.add(profile.clerkUserId, key);
      this.#byOrganization.add(profile.clerkOrgId, key);
    } else {
      entry.profile = profile;
      entry.askedAt = askedAt;
      this.#unlink(entry);
    }
    this.#link(entry);
    if (this.#entries.size > this.#size) {
      this.#drop(this.#oldest);
    }
  }

  /** Drops what was removed; costs as much as there is to drop. */
  remove({ clerkUserId, clerkOrgId }: Removed): void {
    if (clerkUserId !== "" && clerkOrgId !== "") {
      this.#drop(this.#entries.get(keyOf(clerkUserId, clerkOrgId)));
      return;
    }
    const keys = clerkOrgId === "" ? this.#byUser.keys(clerkUserId) : this.#byOrganization.keys(clerkOrgId);
    for (const key of keys) {
      this.#drop(this.#entries.get(key));
    }
  }

  clear(): void {
    this.#entries.clear();
    this.#newest = undefined;
    this.#oldest = undefined;
    this.#byUser.clear();
    this.#byOrganization.clear();
  }

  #drop(entry: Entry | undefined): void {
    if (entry !== undefined) {
      this.#entries.delete(entry.key);
      this.#unlink(entry);
      this.#byUser.delete(entry.profile.clerkUserId, entry.key);
      this.#byOrganization.delete(entry.profile.clerkOrgId, entry.key);
    }
  }

  /** Makes it the most recently used one. */
  #link(entry: Entry): void {
    entry.older = this.#newest;
    entry.newer = undefined;
    if (this.#newest !== undefined) {
      this.#newest.newer = entry;
    }
    this.#newest = entry;
    this.#oldest ??= entry;
  }

  #unlink(entry: Entry): void {
    const { older, newer } = entry;
    if (older === undefined) {
      this.#oldest = newer;
    } else {
      older.newer = newer;
    }
    if (newer === undefined) {
      this.#newest = older;
    } else {
      newer.older = older;
    }
  }
}

/** id → keys. Most users have one organization, so a lone key is kept without a Set around it. */
class KeyIndex {
  readonly #keys = new Map<string, string | Set<string>>();

  keys(id: string): readonly string[] {
    const found = this.#keys.get(id);
    return found === undefined ? [] : typeof found === "string" ? [found] : [...found];
  }

  add(id: string, key: string): void {
    const found = this.#keys.get(id);
    if (found === undefined) {
      this.#keys.set(id, key);
    } else if (typeof found !== "string") {
      found.add(key);
    } else if (found !== key) {
      this.#keys.set(id, new Set([found, key]));
    }
  }

  delete(id: string, key: string): void {
    const found = this.#keys.get(id);
    if (found === key) {
      this.#keys.delete(id);
    } else if (typeof found === "object" && found.delete(key) && found.size === 0) {
      this.#keys.delete(id);
    }
  }

  clear(): void {
    this.#keys.clear();
  }
}
