// Turns what a failed call carries into one of our errors. The reason of the ErrorInfo decides, not the message.
import { fromBinary } from "@bufbuild/protobuf";
import { type Any, anyUnpack } from "@bufbuild/protobuf/wkt";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import {
  CallFailed,
  type ClerksyncError,
  DeadlineExceeded,
  EvidenceTooOld,
  InvalidRequest,
  MembershipRemoved,
  OrganizationDeleted,
  Refused,
  SessionTokenRefused,
  Unavailable,
  UserDeleted,
} from "./errors.js";
import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "./gen/google/rpc/status_pb.js";

const DOMAIN = "clerksync";

const REFUSALS: Readonly<Record<string, new (message: string, reason: string) => Refused>> = {
  MEMBERSHIP_REMOVED: MembershipRemoved,
  USER_DELETED: UserDeleted,
  ORGANIZATION_DELETED: OrganizationDeleted,
  EVIDENCE_TOO_OLD: EvidenceTooOld,
  SESSION_TOKEN_MISSING: SessionTokenRefused,
  SESSION_TOKEN_INVALID: SessionTokenRefused,
  SESSION_TOKEN_MISMATCH: SessionTokenRefused,
};

/** What grpc-js has thrown, as one of our errors. */
export function errorFromCall(thrown: unknown): ClerksyncError {
  if (!isServiceError(thrown)) {
    return new CallFailed("the call could not be made", "UNKNOWN", { cause: thrown });
  }
  const packed = thrown.metadata.get("grpc-status-details-bin")[0];
  if (packed instanceof Uint8Array) {
    try {
      const told = fromBinary(StatusSchema, packed);
      if (told.code === thrown.code) {
        return errorFromStatus(told);
      }
    } catch {
      // A proxy may have put something else there: the code and the message remain.
    }
  }
  return errorFromStatus({ code: thrown.code, message: thrown.details, details: [] });
}

/** A status that is no success, as one of our errors. */
export function errorFromStatus(told: Pick<Status, "code" | "message" | "details">): ClerksyncError {
  const reason = reasonOf(told.details);
  const refusal = reason === undefined ? undefined : REFUSALS[reason];
  if (reason !== undefined && refusal !== undefined) {
    return new refusal(told.message, reason);
  }
  switch (told.code) {
    case status.FAILED_PRECONDITION:
      if (reason !== undefined) {
        return new Refused(told.message, reason);
      }
      break;
    case status.INVALID_ARGUMENT:
      if (reason !== undefined) {
        return new InvalidRequest(told.message, violationsOf(told.details));
      }
      break;
    case status.DEADLINE_EXCEEDED:
      return new DeadlineExceeded("the answer did not come in time");
    case status.UNAVAILABLE:
    case status.RESOURCE_EXHAUSTED:
    case status.ABORTED:
    case status.CANCELLED:
      return new Unavailable(told.message || "no answer now");
  }
  const code = status[told.code] ?? "UNKNOWN";
  return new CallFailed(`${code}: ${told.message}`, code);
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return thrown instanceof Error && "code" in thrown && "metadata" in thrown && thrown.metadata instanceof Metadata;
}

function reasonOf(details: readonly Any[]): string | undefined {
  for (const detail of details) {
    const info = anyUnpack(detail, ErrorInfoSchema);
    if (info?.domain === DOMAIN) {
      return info.reason;
    }
  }
  return undefined;
}

function violationsOf(details: readonly Any[]): Record<string, string> {
  const violations: Record<string, string> = {};
  for (const detail of details) {
    for (const violation of anyUnpack(detail, BadRequestSchema)?.fieldViolations ?? []) {
      violations[violation.field] = violation.description;
    }
  }
  return violations;
}
