from clerksync.v1 import resources_pb2 as _resources_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProfileOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROFILE_ORIGIN_UNSPECIFIED: _ClassVar[ProfileOrigin]
    PROFILE_ORIGIN_MEMBERSHIP: _ClassVar[ProfileOrigin]
    PROFILE_ORIGIN_EVIDENCE: _ClassVar[ProfileOrigin]

class EnsureOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENSURE_OUTCOME_UNSPECIFIED: _ClassVar[EnsureOutcome]
    ENSURE_OUTCOME_EXISTED: _ClassVar[EnsureOutcome]
    ENSURE_OUTCOME_CREATED: _ClassVar[EnsureOutcome]
PROFILE_ORIGIN_UNSPECIFIED: ProfileOrigin
PROFILE_ORIGIN_MEMBERSHIP: ProfileOrigin
PROFILE_ORIGIN_EVIDENCE: ProfileOrigin
ENSURE_OUTCOME_UNSPECIFIED: EnsureOutcome
ENSURE_OUTCOME_EXISTED: EnsureOutcome
ENSURE_OUTCOME_CREATED: EnsureOutcome

class EnsureUserProfileRequest(_message.Message):
    __slots__ = ("clerk_user_id", "clerk_org_id", "token_issued_at", "session_token")
    CLERK_USER_ID_FIELD_NUMBER: _ClassVar[int]
    CLERK_ORG_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    SESSION_TOKEN_FIELD_NUMBER: _ClassVar[int]
    clerk_user_id: str
    clerk_org_id: str
    token_issued_at: _timestamp_pb2.Timestamp
    session_token: str
    def __init__(self, clerk_user_id: _Optional[str] = ..., clerk_org_id: _Optional[str] = ..., token_issued_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., session_token: _Optional[str] = ...) -> None: ...

class EnsureUserProfileResponse(_message.Message):
    __slots__ = ("user_profile", "outcome")
    USER_PROFILE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    user_profile: _resources_pb2.UserProfile
    outcome: EnsureOutcome
    def __init__(self, user_profile: _Optional[_Union[_resources_pb2.UserProfile, _Mapping]] = ..., outcome: _Optional[_Union[EnsureOutcome, str]] = ...) -> None: ...

class BatchEnsureUserProfilesRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[EnsureUserProfileRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[EnsureUserProfileRequest, _Mapping]]] = ...) -> None: ...

class BatchEnsureUserProfilesResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EnsureUserProfileResult]
    def __init__(self, results: _Optional[_Iterable[_Union[EnsureUserProfileResult, _Mapping]]] = ...) -> None: ...

class EnsureUserProfileResult(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: EnsureUserProfileResponse
    error: _status_pb2.Status
    def __init__(self, response: _Optional[_Union[EnsureUserProfileResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class WatchRemovalsRequest(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: str
    def __init__(self, position: _Optional[str] = ...) -> None: ...

class WatchRemovalsResponse(_message.Message):
    __slots__ = ("position", "reset", "removals")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    REMOVALS_FIELD_NUMBER: _ClassVar[int]
    position: str
    reset: bool
    removals: _containers.RepeatedCompositeFieldContainer[Removal]
    def __init__(self, position: _Optional[str] = ..., reset: bool = ..., removals: _Optional[_Iterable[_Union[Removal, _Mapping]]] = ...) -> None: ...

class Removal(_message.Message):
    __slots__ = ("clerk_user_id", "clerk_org_id")
    CLERK_USER_ID_FIELD_NUMBER: _ClassVar[int]
    CLERK_ORG_ID_FIELD_NUMBER: _ClassVar[int]
    clerk_user_id: str
    clerk_org_id: str
    def __init__(self, clerk_user_id: _Optional[str] = ..., clerk_org_id: _Optional[str] = ...) -> None: ...

class EnsureOrganizationRequest(_message.Message):
    __slots__ = ("clerk_org_id", "token_issued_at", "session_token")
    CLERK_ORG_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    SESSION_TOKEN_FIELD_NUMBER: _ClassVar[int]
    clerk_org_id: str
    token_issued_at: _timestamp_pb2.Timestamp
    session_token: str
    def __init__(self, clerk_org_id: _Optional[str] = ..., token_issued_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., session_token: _Optional[str] = ...) -> None: ...

class EnsureOrganizationResponse(_message.Message):
    __slots__ = ("organization", "outcome")
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    organization: _resources_pb2.Organization
    outcome: EnsureOutcome
    def __init__(self, organization: _Optional[_Union[_resources_pb2.Organization, _Mapping]] = ..., outcome: _Optional[_Union[EnsureOutcome, str]] = ...) -> None: ...

class ApplyClerkEventRequest(_message.Message):
    __slots__ = ("svix_id", "attempted_at", "body")
    SVIX_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTED_AT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    svix_id: str
    attempted_at: _timestamp_pb2.Timestamp
    body: bytes
    def __init__(self, svix_id: _Optional[str] = ..., attempted_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., body: _Optional[bytes] = ...) -> None: ...

class ApplyClerkEventResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: _resources_pb2.DeliveryOutcome
    def __init__(self, outcome: _Optional[_Union[_resources_pb2.DeliveryOutcome, str]] = ...) -> None: ...

class ApplyClerkEventsRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[ApplyClerkEventRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[ApplyClerkEventRequest, _Mapping]]] = ...) -> None: ...

class ApplyClerkEventsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ApplyClerkEventResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ApplyClerkEventResult, _Mapping]]] = ...) -> None: ...

class ApplyClerkEventResult(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: ApplyClerkEventResponse
    error: _status_pb2.Status
    def __init__(self, response: _Optional[_Union[ApplyClerkEventResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class ExplainUserProfileRequest(_message.Message):
    __slots__ = ("clerk_user_id", "clerk_org_id")
    CLERK_USER_ID_FIELD_NUMBER: _ClassVar[int]
    CLERK_ORG_ID_FIELD_NUMBER: _ClassVar[int]
    clerk_user_id: str
    clerk_org_id: str
    def __init__(self, clerk_user_id: _Optional[str] = ..., clerk_org_id: _Optional[str] = ...) -> None: ...

class ExplainUserProfileResponse(_message.Message):
    __slots__ = ("summary", "user_profile", "origin", "membership_times", "evidence_time", "organization", "tombstone", "user_delete_time", "organization_delete_time", "ensure_now", "last_writer", "deliveries")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    USER_PROFILE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_TIMES_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_TIME_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONE_FIELD_NUMBER: _ClassVar[int]
    USER_DELETE_TIME_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_DELETE_TIME_FIELD_NUMBER: _ClassVar[int]
    ENSURE_NOW_FIELD_NUMBER: _ClassVar[int]
    LAST_WRITER_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    summary: str
    user_profile: _resources_pb2.UserProfile
    origin: ProfileOrigin
    membership_times: MembershipTimes
    evidence_time: _timestamp_pb2.Timestamp
    organization: _resources_pb2.Organization
    tombstone: MembershipTombstone
    user_delete_time: _timestamp_pb2.Timestamp
    organization_delete_time: _timestamp_pb2.Timestamp
    ensure_now: str
    last_writer: _resources_pb2.Delivery
    deliveries: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Delivery]
    def __init__(self, summary: _Optional[str] = ..., user_profile: _Optional[_Union[_resources_pb2.UserProfile, _Mapping]] = ..., origin: _Optional[_Union[ProfileOrigin, str]] = ..., membership_times: _Optional[_Union[MembershipTimes, _Mapping]] = ..., evidence_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., organization: _Optional[_Union[_resources_pb2.Organization, _Mapping]] = ..., tombstone: _Optional[_Union[MembershipTombstone, _Mapping]] = ..., user_delete_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., organization_delete_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ensure_now: _Optional[str] = ..., last_writer: _Optional[_Union[_resources_pb2.Delivery, _Mapping]] = ..., deliveries: _Optional[_Iterable[_Union[_resources_pb2.Delivery, _Mapping]]] = ...) -> None: ...

class MembershipTimes(_message.Message):
    __slots__ = ("create_time", "update_time", "event_time")
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    event_time: _timestamp_pb2.Timestamp
    def __init__(self, create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., event_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MembershipTombstone(_message.Message):
    __slots__ = ("through_create_time", "through_membership_id", "remove_time")
    THROUGH_CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    THROUGH_MEMBERSHIP_ID_FIELD_NUMBER: _ClassVar[int]
    REMOVE_TIME_FIELD_NUMBER: _ClassVar[int]
    through_create_time: _timestamp_pb2.Timestamp
    through_membership_id: str
    remove_time: _timestamp_pb2.Timestamp
    def __init__(self, through_create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., through_membership_id: _Optional[str] = ..., remove_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
