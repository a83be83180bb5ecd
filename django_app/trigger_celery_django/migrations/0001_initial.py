"""The tables of the first version."""

from __future__ import annotations

import datetime

import django.db.models.deletion
from django.db import migrations, models

import trigger_celery.identity
import trigger_celery_django.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField()),
                ("cpu_us", models.BigIntegerField()),
                ("peak_memory", models.BigIntegerField()),
                ("queries", models.PositiveIntegerField()),
                ("worker", models.CharField(blank=True, max_length=255)),
                ("source", trigger_celery_django.fields.PayloadField(blank=True)),
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", trigger_celery_django.fields.IdentityField(max_length=500)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("step", "step"),
                            ("value", "value"),
                            ("send_event", "send event"),
                            ("sleep", "sleep"),
                            ("wait_for_event", "wait for event"),
                            ("retry", "retry"),
                        ],
                        max_length=16,
                    ),
                ),
                ("value", trigger_celery_django.fields.PayloadField()),
                ("position", models.BigIntegerField()),
                ("attempt", models.PositiveIntegerField()),
                ("token", models.CharField(max_length=32)),
                ("fence", models.BigIntegerField()),
                ("recorded_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=trigger_celery.identity.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("task", trigger_celery_django.fields.IdentityField(max_length=255)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "queued"),
                            ("executing", "executing"),
                            ("suspended", "suspended"),
                            ("completed", "completed"),
                            ("failed", "failed"),
                            ("timed_out", "timed out"),
                            ("canceled", "canceled"),
                            ("expired", "expired"),
                        ],
                        max_length=16,
                    ),
                ),
                ("input", trigger_celery_django.fields.PayloadField()),
                ("output", trigger_celery_django.fields.PayloadField(null=True)),
                ("error", trigger_celery_django.fields.PayloadField(null=True)),
                ("canvas", trigger_celery_django.fields.PayloadField(blank=True)),
                ("version", models.CharField(blank=True, max_length=64)),
                ("attempt", models.PositiveIntegerField(default=1)),
                ("crashes", models.PositiveIntegerField(default=0)),
                ("max_crashes", models.PositiveIntegerField(default=3)),
                ("fence", models.BigIntegerField(default=0)),
                ("attempts_after_fence", models.BigIntegerField(default=0)),
                ("worker", trigger_celery_django.fields.IdentityField(blank=True, max_length=255)),
                ("token", models.CharField(blank=True, max_length=32)),
                ("lease_length", models.DurationField(default=datetime.timedelta(0))),
                ("created_at", models.DateTimeField()),
                ("available_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("published_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("sequence", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "event_id",
                    trigger_celery_django.fields.IdentityField(max_length=255, unique=True),
                ),
                ("name", trigger_celery_django.fields.IdentityField(max_length=255)),
                ("payload", trigger_celery_django.fields.PayloadField()),
                ("received_at", models.DateTimeField()),
                ("matched_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="FailedAttempt",
            fields=[
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField()),
                ("cpu_us", models.BigIntegerField()),
                ("peak_memory", models.BigIntegerField()),
                ("queries", models.PositiveIntegerField()),
                ("worker", models.CharField(blank=True, max_length=255)),
                ("source", trigger_celery_django.fields.PayloadField(blank=True)),
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", trigger_celery_django.fields.IdentityField(blank=True, max_length=500)),
                ("run_attempt", models.PositiveIntegerField()),
                ("number", models.PositiveIntegerField()),
                ("error", trigger_celery_django.fields.PayloadField()),
                ("fence", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="History",
            fields=[
                ("sequence", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("verb", models.CharField(max_length=32)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "queued"),
                            ("executing", "executing"),
                            ("suspended", "suspended"),
                            ("completed", "completed"),
                            ("failed", "failed"),
                            ("timed_out", "timed out"),
                            ("canceled", "canceled"),
                            ("expired", "expired"),
                        ],
                        max_length=16,
                    ),
                ),
                ("fence", models.BigIntegerField()),
                ("worker", models.CharField(blank=True, max_length=255)),
                ("data", trigger_celery_django.fields.PayloadField(default="{}")),
            ],
            options={
                "verbose_name_plural": "history",
            },
        ),
        migrations.CreateModel(
            name="TaskVersion",
            fields=[
                ("digest", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("task", trigger_celery_django.fields.IdentityField(max_length=255)),
                ("source", trigger_celery_django.fields.PayloadField()),
                ("file", trigger_celery_django.fields.PayloadField()),
                ("first_line", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Wait",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", trigger_celery_django.fields.IdentityField(max_length=500)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("step", "step"),
                            ("value", "value"),
                            ("send_event", "send event"),
                            ("sleep", "sleep"),
                            ("wait_for_event", "wait for event"),
                            ("retry", "retry"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "waiting"),
                            ("event", "event"),
                            ("timeout", "timeout"),
                            ("canceled", "canceled"),
                        ],
                        max_length=16,
                    ),
                ),
                ("position", models.BigIntegerField()),
                ("name", trigger_celery_django.fields.IdentityField(blank=True, max_length=255)),
                ("filter", trigger_celery_django.fields.PayloadField(blank=True)),
                ("paths", trigger_celery_django.fields.PayloadField(blank=True)),
                ("match_hash", models.BigIntegerField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField()),
                ("resolved_at", models.DateTimeField(null=True)),
                ("source", trigger_celery_django.fields.PayloadField(blank=True)),
                ("looked", models.BooleanField(default=True)),
            ],
        ),
        migrations.CreateModel(
            name="WaitShape",
            fields=[
                ("digest", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("name", trigger_celery_django.fields.IdentityField(db_index=True, max_length=255)),
                ("paths", trigger_celery_django.fields.PayloadField()),
            ],
        ),
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                (
                    "run",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="dead_letter",
                        serialize=False,
                        to="trigger_celery.run",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("retried", "Retried"),
                            ("discarded", "Discarded"),
                        ],
                        max_length=16,
                    ),
                ),
                ("fingerprint", models.CharField(blank=True, max_length=255)),
                ("created_at", models.DateTimeField()),
                ("resolved_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.fields.PartialIndex(
                condition=models.Q(("due_at", None), _negated=True),
                fields=["due_at"],
                name="trigger_run_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "queued",
                            "executing",
                            "suspended",
                            "completed",
                            "failed",
                            "timed_out",
                            "canceled",
                            "expired",
                        ],
                    )
                ),
                name="trigger_run_state",
            ),
        ),
        migrations.AddField(
            model_name="checkpoint",
            name="run",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="checkpoints",
                to="trigger_celery.run",
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["name", "sequence"], name="trigger_event_order"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["name", "matched_at"], name="trigger_event_recent"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=trigger_celery_django.fields.PartialIndex(
                condition=models.Q(("matched_at", None)),
                fields=["matched_at", "received_at"],
                name="trigger_event_unmatched",
            ),
        ),
        migrations.AddField(
            model_name="failedattempt",
            name="run",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="failed_attempts",
                to="trigger_celery.run",
            ),
        ),
        migrations.AddField(
            model_name="history",
            name="run",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="history",
                to="trigger_celery.run",
            ),
        ),
        migrations.AddField(
            model_name="wait",
            name="event",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                to="trigger_celery.event",
            ),
        ),
        migrations.AddField(
            model_name="wait",
            name="run",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="waits",
                to="trigger_celery.run",
            ),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(fields=["state", "fingerprint"], name="trigger_letter_group"),
        ),
        migrations.AddConstraint(
            model_name="deadletter",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["open", "retried", "discarded"])),
                name="trigger_letter_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="checkpoint",
            constraint=models.UniqueConstraint(
                fields=("run", "key"), name="trigger_checkpoint_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="failedattempt",
            constraint=models.UniqueConstraint(
                fields=("run", "fence", "key", "number"), name="trigger_attempt_number"
            ),
        ),
        migrations.AddIndex(
            model_name="history",
            index=models.Index(fields=["run", "sequence"], name="trigger_history_run"),
        ),
        migrations.AddIndex(
            model_name="wait",
            index=trigger_celery_django.fields.PartialIndex(
                condition=models.Q(("state", "waiting")),
                fields=["match_hash", "id"],
                name="trigger_wait_match",
            ),
        ),
        migrations.AddConstraint(
            model_name="wait",
            constraint=models.UniqueConstraint(fields=("run", "key"), name="trigger_wait_key"),
        ),
        migrations.AddConstraint(
            model_name="wait",
            constraint=models.UniqueConstraint(fields=("run", "event"), name="trigger_wait_event"),
        ),
        migrations.AddConstraint(
            model_name="wait",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["waiting", "event", "timeout", "canceled"])),
                name="trigger_wait_state",
            ),
        ),
    ]
