"""What every store has to do, as tests: run them on your own store.

::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self): ...            # a trigger_celery.ports.Store without any rows
        @pytest.fixture
        def advance(self, store): ...   # f(timedelta): lets the database's time pass
        @pytest.fixture
        def begin(self, store): ...     # f(): a context manager, a transaction of user code
"""

from __future__ import annotations

from trigger_celery.testing.contract.bulk.operations import BulkContract, BulkKindContract
from trigger_celery.testing.contract.ends import (
    CancelContract,
    EndContract,
    HistoryContract,
    PublishContract,
    RetryContract,
)
from trigger_celery.testing.contract.events import (
    EventContract,
    EventListContract,
    LookBackContract,
    MatchContract,
    RetentionContract,
    SubscriptionContract,
)
from trigger_celery.testing.contract.failures import (
    DeadLetterContract,
    DeadLetterGroupContract,
    FailureContract,
)
from trigger_celery.testing.contract.lifecycle import LifecycleContract
from trigger_celery.testing.contract.managing import CopyContract, PauseContract, RescheduleContract
from trigger_celery.testing.contract.queues.limits import (
    LoadContract,
    PausedQueueContract,
    QueueContract,
    RequestContract,
)
from trigger_celery.testing.contract.queues.lines import LineContract, PromiseContract, TurnContract
from trigger_celery.testing.contract.queues.slots import (
    FreedSlotContract,
    RateContract,
    SlotContract,
)
from trigger_celery.testing.contract.runs import (
    ClaimContract,
    CreateContract,
    FenceContract,
    LeaseContract,
    ListContract,
    RepeatContract,
)
from trigger_celery.testing.contract.starting import (
    DebounceContract,
    KeyContract,
    RecordContract,
    TransactionContract,
)
from trigger_celery.testing.contract.sweeps import (
    CrashContract,
    DeadlineContract,
    ElectionContract,
    RepairContract,
    SweepContract,
)
from trigger_celery.testing.contract.triggers import ChildContract, CloseContract, ScheduleContract
from trigger_celery.testing.contract.waits import (
    GiveUpContract,
    LookContract,
    OpenWaitContract,
    SuspendContract,
    TokenContract,
)


class StoreContract(
    CreateContract,
    ListContract,
    ClaimContract,
    LeaseContract,
    EndContract,
    PublishContract,
    CancelContract,
    RetryContract,
    DeadLetterContract,
    DeadLetterGroupContract,
    PauseContract,
    RescheduleContract,
    CopyContract,
    FenceContract,
    RepeatContract,
    RecordContract,
    FailureContract,
    SuspendContract,
    LookContract,
    GiveUpContract,
    ChildContract,
    CloseContract,
    EventContract,
    EventListContract,
    LookBackContract,
    MatchContract,
    SubscriptionContract,
    RetentionContract,
    SweepContract,
    RepairContract,
    ElectionContract,
    CrashContract,
    DeadlineContract,
    KeyContract,
    DebounceContract,
    TransactionContract,
    HistoryContract,
    ScheduleContract,
    TokenContract,
    OpenWaitContract,
    QueueContract,
    PausedQueueContract,
    SlotContract,
    FreedSlotContract,
    LineContract,
    PromiseContract,
    TurnContract,
    RateContract,
    LoadContract,
    RequestContract,
    BulkContract,
    BulkKindContract,
    LifecycleContract,
):
    """All laws of :class:`trigger_celery.ports.Store`, one test each."""
