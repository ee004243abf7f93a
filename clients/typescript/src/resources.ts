// The resources as services use them: plain frozen objects with Dates, without protobuf's messages.
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { CallFailed } from "./errors.js";
import type * as pb from "./gen/clerksync/v1/resources_pb.js";

/** A row of `user_profile`: one user in one organization. */
export interface UserProfile {
  /** The id of the row: a UUID in lower case (in an adopted table whatever its id column holds, as text). */
  readonly id: string;
  readonly clerkUserId: string;
  readonly clerkOrgId: string;
  /** The role as Clerk spells it, for example "org:admin"; undefined while the profile is provisional, or without one. */
  readonly role: string | undefined;
  /** Clerk's id of the membership; undefined until a membership event has confirmed the profile. */
  readonly clerkMembershipId: string | undefined;
  /** When the row was created, by the database's clock, cut to milliseconds. */
  readonly createTime: Date;
  /** When the row was last changed, by the database's clock, cut to milliseconds. */
  readonly updateTime: Date;
}

/** A row of `organization`. */
export interface Organization {
  /** The id of the row: a UUID in lower case (in an adopted table whatever its id column holds, as text). */
  readonly id: string;
  readonly clerkOrgId: string;
  /** The name; the Clerk id while the organization is a placeholder. */
  readonly name: string;
  /** Undefined when Clerk has none. Not unique over time. */
  readonly slug: string | undefined;
  /** The address of the logo; undefined when Clerk has none. */
  readonly imageUrl: string | undefined;
  /** True until an event of Clerk has told the organization's name. */
  readonly isPlaceholder: boolean;
  /** When the row was created, by the database's clock, cut to milliseconds. */
  readonly createTime: Date;
  /** When the row was last changed, by the database's clock, cut to milliseconds. */
  readonly updateTime: Date;
}

/** The row of the message. Throws CallFailed without one: then that was no SyncService. */
export function userProfileFromPb(message: pb.UserProfile | undefined): UserProfile {
  const profile = present(message);
  return Object.freeze({
    id: profile.id,
    clerkUserId: profile.clerkUserId,
    clerkOrgId: profile.clerkOrgId,
    role: profile.role,
    clerkMembershipId: profile.clerkMembershipId,
    createTime: dateOf(profile.createTime),
    updateTime: dateOf(profile.updateTime),
  });
}

/** The row of the message. Throws CallFailed without one: then that was no SyncService. */
export function organizationFromPb(message: pb.Organization | undefined): Organization {
  const organization = present(message);
  return Object.freeze({
    id: organization.id,
    clerkOrgId: organization.clerkOrgId,
    name: organization.name,
    slug: organization.slug,
    imageUrl: organization.imageUrl,
    isPlaceholder: organization.isPlaceholder,
    createTime: dateOf(organization.createTime),
    updateTime: dateOf(organization.updateTime),
  });
}

function dateOf(timestamp: Timestamp | undefined): Date {
  return timestampDate(present(timestamp));
}

function present<T>(value: T | undefined): T {
  if (value === undefined) {
    throw new CallFailed("the answer lacks what the contract promises", "INTERNAL");
  }
  return value;
}
