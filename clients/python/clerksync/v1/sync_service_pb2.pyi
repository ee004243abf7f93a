from clerksync.v1 import resources_pb2 as _resources_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnsureOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENSURE_OUTCOME_UNSPECIFIED: _ClassVar[EnsureOutcome]
    ENSURE_OUTCOME_EXISTED: _ClassVar[EnsureOutcome]
    ENSURE_OUTCOME_CREATED: _ClassVar[EnsureOutcome]
ENSURE_OUTCOME_UNSPECIFIED: EnsureOutcome
ENSURE_OUTCOME_EXISTED: EnsureOutcome
ENSURE_OUTCOME_CREATED: EnsureOutcome

class EnsureUserProfileRequest(_message.Message):
    __slots__ = ("clerk_user_id", "clerk_org_id", "token_issued_at")
    CLERK_USER_ID_FIELD_NUMBER: _ClassVar[int]
    CLERK_ORG_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    clerk_user_id: str
    clerk_org_id: str
    token_issued_at: _timestamp_pb2.Timestamp
    def __init__(self, clerk_user_id: _Optional[str] = ..., clerk_org_id: _Optional[str] = ..., token_issued_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class EnsureUserProfileResponse(_message.Message):
    __slots__ = ("user_profile", "outcome")
    USER_PROFILE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    user_profile: _resources_pb2.UserProfile
    outcome: EnsureOutcome
    def __init__(self, user_profile: _Optional[_Union[_resources_pb2.UserProfile, _Mapping]] = ..., outcome: _Optional[_Union[EnsureOutcome, str]] = ...) -> None: ...

class EnsureOrganizationRequest(_message.Message):
    __slots__ = ("clerk_org_id", "token_issued_at")
    CLERK_ORG_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    clerk_org_id: str
    token_issued_at: _timestamp_pb2.Timestamp
    def __init__(self, clerk_org_id: _Optional[str] = ..., token_issued_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

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
