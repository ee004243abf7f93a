from clerksync.v1 import resources_pb2 as _resources_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListDeliveriesRequest(_message.Message):
    __slots__ = ("outcome", "page_size", "page_token")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    outcome: _resources_pb2.DeliveryOutcome
    page_size: int
    page_token: str
    def __init__(self, outcome: _Optional[_Union[_resources_pb2.DeliveryOutcome, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeliveriesResponse(_message.Message):
    __slots__ = ("deliveries", "next_page_token")
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    deliveries: _containers.RepeatedCompositeFieldContainer[Delivery]
    next_page_token: str
    def __init__(self, deliveries: _Optional[_Iterable[_Union[Delivery, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetDeliveryRequest(_message.Message):
    __slots__ = ("svix_id", "include_body")
    SVIX_ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_BODY_FIELD_NUMBER: _ClassVar[int]
    svix_id: str
    include_body: bool
    def __init__(self, svix_id: _Optional[str] = ..., include_body: bool = ...) -> None: ...

class GetDeliveryResponse(_message.Message):
    __slots__ = ("delivery",)
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    delivery: Delivery
    def __init__(self, delivery: _Optional[_Union[Delivery, _Mapping]] = ...) -> None: ...

class RedriveDeliveryRequest(_message.Message):
    __slots__ = ("svix_id",)
    SVIX_ID_FIELD_NUMBER: _ClassVar[int]
    svix_id: str
    def __init__(self, svix_id: _Optional[str] = ...) -> None: ...

class RedriveDeliveryResponse(_message.Message):
    __slots__ = ("delivery",)
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    delivery: Delivery
    def __init__(self, delivery: _Optional[_Union[Delivery, _Mapping]] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("svix_id", "outcome", "event_type", "event_time", "receive_time", "commit_time", "clerk_user_id", "clerk_org_id", "body_sha256", "quarantine_reason", "body")
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
    svix_id: str
    outcome: _resources_pb2.DeliveryOutcome
    event_type: str
    event_time: _timestamp_pb2.Timestamp
    receive_time: _timestamp_pb2.Timestamp
    commit_time: _timestamp_pb2.Timestamp
    clerk_user_id: str
    clerk_org_id: str
    body_sha256: bytes
    quarantine_reason: str
    body: bytes
    def __init__(self, svix_id: _Optional[str] = ..., outcome: _Optional[_Union[_resources_pb2.DeliveryOutcome, str]] = ..., event_type: _Optional[str] = ..., event_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., receive_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., commit_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., clerk_user_id: _Optional[str] = ..., clerk_org_id: _Optional[str] = ..., body_sha256: _Optional[bytes] = ..., quarantine_reason: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...
