from support.workers import *
from testproject.shop import tasks
from trigger_celery.binding import dispatcher as d
PLACE=("redis","redis")
def test_x(place, worker, caplog):
    import logging; caplog.set_level(logging.DEBUG)
    e = installed_engine()
    print(type(e.dispatcher), app.conf.broker_url, app.conf.broker_write_url, d._url(app), d.app_or_default() is app)
    tasks.linear.delay(1)
    print(e.dispatcher._owned)
    print(e.dispatcher._owned.producers.connections.connection.as_uri(), e.dispatcher._owned.producers.connections.connection.transport_options, app.amqp.default_queue, e.dispatcher._owned.app is app)
    print(caplog.text)
