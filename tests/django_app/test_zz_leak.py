import gc, tracemalloc, sys
import pytest
sys.path.insert(0, "/work/main/tests/django_app")
from support.databases import alias_of
from test_memory import *
@pytest.mark.timeout(300)
@pytest.mark.django_db(databases=[alias_of("sqlite")])
def test_x():
    engine = Engine(store=DjangoStore(alias_of("sqlite")), tasks=Registry())
    task = define(tiny, name="tiny")
    engine.tasks.add(task)
    def work(count):
        for number in range(count):
            execute(engine, trigger(engine, task, (number,), {}), task)
    work(100)
    tracemalloc.start(4)
    work(50); gc.collect()
    a = tracemalloc.take_snapshot()
    work(400); gc.collect()
    b = tracemalloc.take_snapshot()
    for s in b.compare_to(a, "traceback")[:6]:
        print(s); print("\n".join(s.traceback.format()))
    from django.db import connections
    c = connections[alias_of("sqlite")]
    print(len(c.run_on_commit), len(c.savepoint_ids), len(c.queries_log))
