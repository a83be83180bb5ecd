"""What every store has to do, as tests: run them on your own store.

::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self): ...            # a trigger_celery.ports.Store without any rows
        @pytest.fixture
        def advance(self, store): ...   # f(timedelta): lets the database's time pass
        @pytest.fixture
        def letters(self, store): ...   # f(run_id): the states of its dead letters, as text
        @pytest.fixture
        def begin(self, store): ...     # f(): a context manager, a transaction of user code
"""

from __future__ import annotations

from trigger_celery.testing.contract.children import ChildContract, CloseContract
from trigger_celery.testing.contract.copies import CopyContract
from trigger_celery.testing.contract.deadlines import DeadlineContract
from trigger_celery.testing.contract.ends import CancelContract, EndContract, RetryContract
from trigger_celery.testing.contract.events import EventContract, LookBackContract, MatchContract
from trigger_celery.testing.contract.fence import FenceContract, RepeatContract
from trigger_celery.testing.contract.history import HistoryContract
from trigger_celery.testing.contract.keys import DebounceContract, KeyContract
from trigger_celery.testing.contract.lines import LineContract
from trigger_celery.testing.contract.loads import LoadContract
from trigger_celery.testing.contract.managing import PauseContract, RescheduleContract
from trigger_celery.testing.contract.publish import PublishContract
from trigger_celery.testing.contract.queues import PausedQueueContract, QueueContract
from trigger_celery.testing.contract.rates import RateContract
from trigger_celery.testing.contract.runs import ClaimContract, CreateContract, LeaseContract
from trigger_celery.testing.contract.schedules import ScheduleContract
from trigger_celery.testing.contract.slots import FreedSlotContract, SlotContract
from trigger_celery.testing.contract.subscriptions import RetentionContract, SubscriptionContract
from trigger_celery.testing.contract.sweeps import CrashContract, SweepContract
from trigger_celery.testing.contract.tokens import OpenWaitContract, TokenContract
from trigger_celery.testing.contract.transactions import RecordContract, TransactionContract
from trigger_celery.testing.contract.turns import PromiseContract, TurnContract
from trigger_celery.testing.contract.waits import GiveUpContract, LookContract, SuspendContract


class StoreContract(
    CreateContract,
    ClaimContract,
    LeaseContract,
    EndContract,
    PublishContract,
    CancelContract,
    RetryContract,
    PauseContract,
    RescheduleContract,
    CopyContract,
    FenceContract,
    RepeatContract,
    RecordContract,
    SuspendContract,
    LookContract,
    GiveUpContract,
    ChildContract,
    CloseContract,
    EventContract,
    LookBackContract,
    MatchContract,
    SubscriptionContract,
    RetentionContract,
    SweepContract,
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
):
    """All laws of :class:`trigger_celery.ports.Store`, one test each."""
