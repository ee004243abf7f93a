from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeliveryOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_OUTCOME_UNSPECIFIED: _ClassVar[DeliveryOutcome]
    DELIVERY_OUTCOME_APPLIED: _ClassVar[DeliveryOutcome]
    DELIVERY_OUTCOME_DUPLICATE: _ClassVar[DeliveryOutcome]
    DELIVERY_OUTCOME_STALE: _ClassVar[DeliveryOutcome]
    DELIVERY_OUTCOME_IGNORED: _ClassVar[DeliveryOutcome]
    DELIVERY_OUTCOME_QUARANTINED: _ClassVar[DeliveryOutcome]
DELIVERY_OUTCOME_UNSPECIFIED: DeliveryOutcome
DELIVERY_OUTCOME_APPLIED: DeliveryOutcome
DELIVERY_OUTCOME_DUPLICATE: DeliveryOutcome
DELIVERY_OUTCOME_STALE: DeliveryOutcome
DELIVERY_OUTCOME_IGNORED: DeliveryOutcome
DELIVERY_OUTCOME_QUARANTINED: DeliveryOutcome

class UserProfile(_message.Message):
    __slots__ = ("id", "clerk_user_id", "clerk_org_id", "role", "clerk_membership_id", "create_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    CLERK_USER_ID_FIELD_NUMBER: _ClassVar[int]
    CLERK_ORG_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CLERK_MEMBERSHIP_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    clerk_user_id: str
    clerk_org_id: str
    role: str
    clerk_membership_id: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., clerk_user_id: _Optional[str] = ..., clerk_org_id: _Optional[str] = ..., role: _Optional[str] = ..., clerk_membership_id: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Organization(_message.Message):
    __slots__ = ("id", "clerk_org_id", "name", "slug", "image_url", "is_placeholder", "create_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    CLERK_ORG_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SLUG_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URL_FIELD_NUMBER: _ClassVar[int]
    IS_PLACEHOLDER_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    clerk_org_id: str
    name: str
    slug: str
    image_url: str
    is_placeholder: bool
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., clerk_org_id: _Optional[str] = ..., name: _Optional[str] = ..., slug: _Optional[str] = ..., image_url: _Optional[str] = ..., is_placeholder: bool = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("svix_id", "outcome", "event_type", "event_time", "receive_time", "commit_time", "clerk_user_id", "clerk_org_id", "body_sha256", "quarantine_reason", "body", "rule", "explanation")
    SVIX_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    COMMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    CLERK_USER_ID_FIELD_NUMBER: _ClassVar[int]
    CLERK_ORG_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_SHA256_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_REASON_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    svix_id: str
    outcome: DeliveryOutcome
    event_type: str
    event_time: _timestamp_pb2.Timestamp
    receive_time: _timestamp_pb2.Timestamp
    commit_time: _timestamp_pb2.Timestamp
    clerk_user_id: str
    clerk_org_id: str
    body_sha256: bytes
    quarantine_reason: str
    body: bytes
    rule: str
    explanation: str
    def __init__(self, svix_id: _Optional[str] = ..., outcome: _Optional[_Union[DeliveryOutcome, str]] = ..., event_type: _Optional[str] = ..., event_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., receive_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., commit_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., clerk_user_id: _Optional[str] = ..., clerk_org_id: _Optional[str] = ..., body_sha256: _Optional[bytes] = ..., quarantine_reason: _Optional[str] = ..., body: _Optional[bytes] = ..., rule: _Optional[str] = ..., explanation: _Optional[str] = ...) -> None: ...
