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

from trigger_celery.testing.contract_ends import CancelContract, EndContract, RetryContract
from trigger_celery.testing.contract_events import EventContract, LookBackContract, MatchContract
from trigger_celery.testing.contract_fence import FenceContract, RepeatContract
from trigger_celery.testing.contract_history import HistoryContract
from trigger_celery.testing.contract_publish import PublishContract
from trigger_celery.testing.contract_runs import ClaimContract, CreateContract, LeaseContract
from trigger_celery.testing.contract_sweeps import CrashContract, SweepContract
from trigger_celery.testing.contract_transactions import RecordContract, TransactionContract
from trigger_celery.testing.contract_waits import LookContract, SuspendContract


class StoreContract(
    CreateContract,
    ClaimContract,
    LeaseContract,
    EndContract,
    PublishContract,
    CancelContract,
    RetryContract,
    FenceContract,
    RepeatContract,
    RecordContract,
    SuspendContract,
    LookContract,
    EventContract,
    LookBackContract,
    MatchContract,
    SweepContract,
    CrashContract,
    TransactionContract,
    HistoryContract,
):
    """All laws of :class:`trigger_celery.ports.Store`, one test each."""
