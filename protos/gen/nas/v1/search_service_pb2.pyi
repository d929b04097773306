from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from nas.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateSearchJobRequest(_message.Message):
    __slots__ = ("search_job", "request_id")
    SEARCH_JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    search_job: _resources_pb2.SearchJob
    request_id: str
    def __init__(self, search_job: _Optional[_Union[_resources_pb2.SearchJob, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetSearchJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListSearchJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSearchJobsResponse(_message.Message):
    __slots__ = ("search_jobs", "next_page_token")
    SEARCH_JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    search_jobs: _containers.RepeatedCompositeFieldContainer[_resources_pb2.SearchJob]
    next_page_token: str
    def __init__(self, search_jobs: _Optional[_Iterable[_Union[_resources_pb2.SearchJob, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelSearchJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteSearchJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeSearchJobRequest(_message.Message):
    __slots__ = ("name", "limits", "root_output_dir")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ROOT_OUTPUT_DIR_FIELD_NUMBER: _ClassVar[int]
    name: str
    limits: _resources_pb2.Limits
    root_output_dir: str
    def __init__(self, name: _Optional[str] = ..., limits: _Optional[_Union[_resources_pb2.Limits, _Mapping]] = ..., root_output_dir: _Optional[str] = ...) -> None: ...

class GetTrialRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListTrialsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "order_by")
    class OrderBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ORDER_BY_UNSPECIFIED: _ClassVar[ListTrialsRequest.OrderBy]
        BEST_FIRST: _ClassVar[ListTrialsRequest.OrderBy]
    ORDER_BY_UNSPECIFIED: ListTrialsRequest.OrderBy
    BEST_FIRST: ListTrialsRequest.OrderBy
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    order_by: ListTrialsRequest.OrderBy
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order_by: _Optional[_Union[ListTrialsRequest.OrderBy, str]] = ...) -> None: ...

class ListTrialsResponse(_message.Message):
    __slots__ = ("trials", "next_page_token")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Trial]
    next_page_token: str
    def __init__(self, trials: _Optional[_Iterable[_Union[_resources_pb2.Trial, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchSearchJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchSearchJobResponse(_message.Message):
    __slots__ = ("search_job", "trial")
    SEARCH_JOB_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    search_job: _resources_pb2.SearchJob
    trial: _resources_pb2.Trial
    def __init__(self, search_job: _Optional[_Union[_resources_pb2.SearchJob, _Mapping]] = ..., trial: _Optional[_Union[_resources_pb2.Trial, _Mapping]] = ...) -> None: ...
