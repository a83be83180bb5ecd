"""A node of RabbitMQ is lost under workers whose queues are quorum queues (``CHAOS=long``)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import services
from support.chaos import LONG, Stage
from support.rabbitmq_cluster import RabbitMQCluster
from testproject.celery import app
from testproject.chaos import ledger
from trigger_celery.client.access import installed_engine

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not LONG, reason="three nodes take most of a minute: CHAOS=long"),
    pytest.mark.timeout(400),
]


@pytest.fixture
def round_number() -> int:
    """Play once: the lost node does not come back."""
    return 0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQCluster]:
    """Three nodes, one of which the test ends."""
    if reason := RabbitMQCluster.missing():
        if services.required():
            pytest.fail(f"{reason} (REQUIRE_SERVICES=1)", pytrace=False)
        pytest.skip(reason)
    started = RabbitMQCluster(tmp_path_factory.mktemp("cluster"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


def test_a_worker_goes_on_when_a_node_is_lost(stage: Stage, cluster: RabbitMQCluster) -> None:
    stage.quorum_url = cluster.url
    before = {name: app.conf[name] for name in stage.broker}
    app.conf.update(stage.broker)
    try:
        [worker] = stage.start("one")
        stage.trigger(ledger, 1)
        stage.finish()
        cluster.kill(0)  # the one that declared every queue
        runs = [stage.trigger(ledger, number) for number in range(5)]
        stage.finish()
        assert [stage.result(run) for run in runs] == [0] * 5
        assert worker.alive
    finally:
        installed_engine().dispatcher.close()  # type: ignore[attr-defined]
        app.conf.update(before)
