"""The tables of the first version."""

from __future__ import annotations

import datetime

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import trigger_celery.vocabulary.identity
import trigger_celery.vocabulary.records.steps
import trigger_celery_django.models.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                ("prefix", trigger_celery_django.models.fields.IdentityField(max_length=16)),
                (
                    "digest",
                    trigger_celery_django.models.fields.IdentityField(max_length=64, unique=True),
                ),
                ("permissions", trigger_celery_django.models.fields.PayloadField()),
                ("tasks", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("events", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=trigger_celery.vocabulary.identity.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("task", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                (
                    "state",
                    trigger_celery_django.models.fields.IdentityField(
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
                ("input", trigger_celery_django.models.fields.PayloadField()),
                ("output", trigger_celery_django.models.fields.PayloadField(null=True)),
                ("error", trigger_celery_django.models.fields.PayloadField(null=True)),
                ("canvas", trigger_celery_django.models.fields.PayloadField(blank=True)),
                (
                    "version",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=64),
                ),
                ("attempt", models.PositiveIntegerField(default=1)),
                ("crashes", models.PositiveIntegerField(default=0)),
                ("max_crashes", models.PositiveIntegerField(default=3)),
                ("fence", models.BigIntegerField(default=0)),
                ("attempts_after_fence", models.BigIntegerField(default=0)),
                ("event_cut", models.BigIntegerField(default=0)),
                (
                    "worker",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                (
                    "token",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=32),
                ),
                ("lease_length", models.DurationField(default=datetime.timedelta(0))),
                ("created_at", models.DateTimeField()),
                ("available_at", models.DateTimeField()),
                ("line_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("published_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
                ("deadline_at", models.DateTimeField(null=True)),
                ("paused_at", models.DateTimeField(null=True)),
                ("max_duration", models.DurationField(null=True)),
                ("max_attempts", models.PositiveIntegerField(null=True)),
                ("priority", models.IntegerField(default=0)),
                (
                    "queue",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                (
                    "concurrency_key",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("tags", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("metadata", trigger_celery_django.models.fields.PayloadField(blank=True)),
                (
                    "parent_key",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=500),
                ),
                ("closes_with_parent", models.BooleanField(default=False)),
                ("origin", trigger_celery_django.models.fields.PayloadField(blank=True)),
                (
                    "schedule",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                (
                    "copied_from",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="copies",
                        to="trigger_celery.run",
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="children",
                        to="trigger_celery.run",
                    ),
                ),
                (
                    "root",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="descendants",
                        to="trigger_celery.run",
                    ),
                ),
            ],
            options={
                "permissions": [
                    ("view_payload", "Can view what runs were given and returned"),
                    ("cancel_run", "Can cancel runs"),
                    ("retry_run", "Can retry runs that failed"),
                    ("rerun_run", "Can start runs anew"),
                    ("pause_run", "Can pause and resume runs"),
                ],
            },
        ),
        migrations.CreateModel(
            name="DurableQueue",
            fields=[
                (
                    "name",
                    trigger_celery_django.models.fields.IdentityField(
                        max_length=255, primary_key=True, serialize=False
                    ),
                ),
                ("declared", trigger_celery_django.models.fields.PayloadField(default="{}")),
                ("overrides", trigger_celery_django.models.fields.PayloadField(default="{}")),
                ("limited", models.BooleanField(default=False)),
                ("due_at", models.DateTimeField(null=True)),
                (
                    "last_key",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("paused_at", models.DateTimeField(null=True)),
                (
                    "paused_by",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("pause_reason", trigger_celery_django.models.fields.PayloadField(blank=True)),
            ],
            options={
                "permissions": [("manage_queue", "Can pause and resume durable queues")],
            },
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "task",
                    trigger_celery_django.models.fields.IdentityField(max_length=255, unique=True),
                ),
                (
                    "name",
                    trigger_celery_django.models.fields.IdentityField(
                        db_index=True, max_length=255
                    ),
                ),
                ("filter", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="SweepTurn",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                (
                    "sweeper",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("until_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="TaskVersion",
            fields=[
                (
                    "digest",
                    trigger_celery_django.models.fields.IdentityField(
                        max_length=64, primary_key=True, serialize=False
                    ),
                ),
                ("task", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                ("source", trigger_celery_django.models.fields.PayloadField()),
                ("file", trigger_celery_django.models.fields.PayloadField()),
                ("first_line", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="WaitShape",
            fields=[
                (
                    "digest",
                    trigger_celery_django.models.fields.IdentityField(
                        max_length=64, primary_key=True, serialize=False
                    ),
                ),
                (
                    "name",
                    trigger_celery_django.models.fields.IdentityField(
                        db_index=True, max_length=255
                    ),
                ),
                ("paths", trigger_celery_django.models.fields.PayloadField()),
            ],
        ),
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField()),
                ("cpu_us", models.BigIntegerField()),
                ("peak_memory", models.BigIntegerField()),
                ("queries", models.PositiveIntegerField()),
                (
                    "worker",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("source", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", trigger_celery_django.models.fields.IdentityField(max_length=500)),
                (
                    "kind",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("step", "step"),
                            ("value", "value"),
                            ("send_event", "send event"),
                            ("trigger", "trigger"),
                            ("sleep", "sleep"),
                            ("wait_for_event", "wait for event"),
                            ("wait_for_token", "wait for token"),
                            ("wait_for_runs", "wait for runs"),
                            ("retry", "retry"),
                        ],
                        max_length=16,
                    ),
                ),
                ("value", trigger_celery_django.models.fields.PayloadField()),
                ("position", models.BigIntegerField()),
                ("attempt", models.PositiveIntegerField()),
                ("token", trigger_celery_django.models.fields.IdentityField(max_length=32)),
                ("fence", models.BigIntegerField()),
                ("recorded_at", models.DateTimeField()),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="checkpoints",
                        to="trigger_celery.run",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="BulkOperation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=trigger_celery.vocabulary.identity.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "kind",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("retry", "retry"),
                            ("rerun", "rerun"),
                            ("cancel", "cancel"),
                            ("pause", "pause"),
                            ("resume", "resume"),
                            ("prioritize", "prioritize"),
                            ("move", "move"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("running", "running"),
                            ("paused", "paused"),
                            ("completed", "completed"),
                            ("aborted", "aborted"),
                        ],
                        max_length=16,
                    ),
                ),
                ("wanted", trigger_celery_django.models.fields.PayloadField()),
                ("until", models.DateTimeField()),
                ("planned", models.PositiveBigIntegerField()),
                ("at_most", models.PositiveBigIntegerField(null=True)),
                ("priority", models.IntegerField(null=True)),
                (
                    "to_queue",
                    trigger_celery_django.models.fields.IdentityField(max_length=255, null=True),
                ),
                ("interval", models.DurationField(null=True)),
                ("batch_size", models.PositiveIntegerField()),
                ("cursor_at", models.DateTimeField(null=True)),
                ("cursor_id", models.UUIDField(null=True)),
                ("done", models.PositiveBigIntegerField(default=0)),
                ("skipped", trigger_celery_django.models.fields.PayloadField(default="{}")),
                ("failed", trigger_celery_django.models.fields.PayloadField(default="{}")),
                (
                    "by",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("reason", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("created_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="carries",
                        to="trigger_celery.run",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="DeadLetterGroup",
            fields=[
                (
                    "fingerprint",
                    trigger_celery_django.models.fields.IdentityField(
                        max_length=16, primary_key=True, serialize=False
                    ),
                ),
                (
                    "state",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("open", "open"),
                            ("ignored", "ignored"),
                            ("resolved", "resolved"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "kind",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("message", trigger_celery_django.models.fields.PayloadField(blank=True)),
                (
                    "place",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("tasks", trigger_celery_django.models.fields.PayloadField(default="[]")),
                ("open", models.IntegerField(default=0)),
                ("retried", models.IntegerField(default=0)),
                ("settled", models.IntegerField(default=0)),
                ("seen", models.BigIntegerField(default=0)),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("recent", trigger_celery_django.models.fields.PayloadField(default="[]")),
                ("regressed_at", models.DateTimeField(null=True)),
                ("regressions", models.PositiveIntegerField(default=0)),
                ("ignore_until", models.DateTimeField(null=True)),
                ("ignore_seen", models.BigIntegerField(null=True)),
                ("ignore_rate", models.BigIntegerField(null=True)),
                (
                    "by",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("reason", trigger_celery_django.models.fields.PayloadField(blank=True)),
            ],
            options={
                "permissions": [("manage_dead_letters", "Can ignore groups of dead letters")],
                "indexes": [
                    models.Index(fields=["state", "last_seen_at"], name="trigger_group_seen"),
                    trigger_celery_django.models.fields.PartialIndex(
                        condition=models.Q(("ignore_until", None), _negated=True),
                        fields=["ignore_until"],
                        name="trigger_group_ignored",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["open", "ignored", "resolved"])),
                        name="trigger_group_state",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("sequence", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "source",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("event_id", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                ("name", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                ("payload", trigger_celery_django.models.fields.PayloadField()),
                ("received_at", models.DateTimeField()),
                ("matched_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["name", "sequence"], name="trigger_event_order"),
                    trigger_celery_django.models.fields.PartialIndex(
                        condition=models.Q(("matched_at", None)),
                        fields=["matched_at", "name", "sequence"],
                        name="trigger_event_unmatched",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("source", "event_id"), name="trigger_event_id")
                ],
            },
        ),
        migrations.CreateModel(
            name="FailedAttempt",
            fields=[
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField()),
                ("cpu_us", models.BigIntegerField()),
                ("peak_memory", models.BigIntegerField()),
                ("queries", models.PositiveIntegerField()),
                (
                    "worker",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("source", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "key",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=500),
                ),
                ("run_attempt", models.PositiveIntegerField()),
                ("number", models.PositiveIntegerField()),
                ("error", trigger_celery_django.models.fields.PayloadField()),
                (
                    "kind",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("step", "step"),
                            ("value", "value"),
                            ("send_event", "send event"),
                            ("trigger", "trigger"),
                            ("sleep", "sleep"),
                            ("wait_for_event", "wait for event"),
                            ("wait_for_token", "wait for token"),
                            ("wait_for_runs", "wait for runs"),
                            ("retry", "retry"),
                        ],
                        default=trigger_celery.vocabulary.records.steps.StepKind["STEP"],
                        max_length=16,
                    ),
                ),
                ("position", models.BigIntegerField(default=0)),
                (
                    "holds",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("not", "not"),
                            ("attempt", "attempt"),
                            ("life", "life"),
                            ("always", "always"),
                        ],
                        default=trigger_celery.vocabulary.records.steps.Holds["NOT"],
                        max_length=16,
                    ),
                ),
                ("raised", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("fence", models.BigIntegerField()),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="failed_attempts",
                        to="trigger_celery.run",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="History",
            fields=[
                ("sequence", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("verb", trigger_celery_django.models.fields.IdentityField(max_length=32)),
                (
                    "state",
                    trigger_celery_django.models.fields.IdentityField(
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
                (
                    "worker",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("data", trigger_celery_django.models.fields.PayloadField(default="{}")),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="history",
                        to="trigger_celery.run",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "history",
            },
        ),
        migrations.CreateModel(
            name="KeyRate",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("queue", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                ("key", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                ("due_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["due_at"], name="trigger_key_rate_due")],
                "constraints": [
                    models.UniqueConstraint(fields=("queue", "key"), name="trigger_key_rate")
                ],
            },
        ),
        migrations.CreateModel(
            name="RunKey",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "purpose",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[("idempotency", "Idempotency"), ("debounce", "Debounce")],
                        max_length=16,
                    ),
                ),
                ("task", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                ("digest", trigger_celery_django.models.fields.IdentityField(max_length=64)),
                ("key", trigger_celery_django.models.fields.PayloadField()),
                (
                    "input_digest",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=64),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(null=True)),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="keys",
                        to="trigger_celery.run",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RunTag",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("tag", trigger_celery_django.models.fields.IdentityField(max_length=128)),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tag_rows",
                        to="trigger_celery.run",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=trigger_celery.vocabulary.identity.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("task", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                (
                    "key",
                    trigger_celery_django.models.fields.IdentityField(max_length=255, unique=True),
                ),
                ("declared", models.BooleanField(default=False)),
                (
                    "cron",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("every", models.DurationField(null=True)),
                (
                    "timezone",
                    trigger_celery_django.models.fields.IdentityField(default="UTC", max_length=64),
                ),
                ("input", trigger_celery_django.models.fields.PayloadField(default="[[],{}]")),
                (
                    "overlap",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("allow", "allow"),
                            ("skip", "skip"),
                            ("buffer", "buffer"),
                            ("cancel", "cancel"),
                        ],
                        default="skip",
                        max_length=16,
                    ),
                ),
                ("catch_up", models.DurationField(default=datetime.timedelta(0))),
                ("next_at", models.DateTimeField(null=True)),
                ("last_at", models.DateTimeField(null=True)),
                ("buffered_at", models.DateTimeField(null=True)),
                ("paused_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "last_run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="trigger_celery.run",
                    ),
                ),
            ],
            options={
                "permissions": [("manage_schedule", "Can pause, resume and run schedules")],
            },
        ),
        migrations.CreateModel(
            name="Token",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=trigger_celery.vocabulary.identity.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "state",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("waiting", "waiting"),
                            ("completed", "completed"),
                            ("canceled", "canceled"),
                        ],
                        max_length=16,
                    ),
                ),
                ("schema", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("tags", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("value", trigger_celery_django.models.fields.PayloadField(null=True)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(null=True)),
                ("closed_at", models.DateTimeField(null=True)),
                (
                    "closed_by",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="tokens",
                        to="trigger_celery.run",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Wait",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", trigger_celery_django.models.fields.IdentityField(max_length=500)),
                (
                    "kind",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("step", "step"),
                            ("value", "value"),
                            ("send_event", "send event"),
                            ("trigger", "trigger"),
                            ("sleep", "sleep"),
                            ("wait_for_event", "wait for event"),
                            ("wait_for_token", "wait for token"),
                            ("wait_for_runs", "wait for runs"),
                            ("retry", "retry"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("waiting", "waiting"),
                            ("event", "event"),
                            ("completed", "completed"),
                            ("timeout", "timeout"),
                            ("canceled", "canceled"),
                        ],
                        max_length=16,
                    ),
                ),
                ("position", models.BigIntegerField()),
                (
                    "name",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("filter", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("paths", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("match_hash", models.BigIntegerField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
                ("value", trigger_celery_django.models.fields.PayloadField(null=True)),
                ("created_at", models.DateTimeField()),
                ("resolved_at", models.DateTimeField(null=True)),
                ("source", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("looked", models.BooleanField(default=True)),
                (
                    "event",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="trigger_celery.event",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="waits",
                        to="trigger_celery.run",
                    ),
                ),
                (
                    "token",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="waits",
                        to="trigger_celery.token",
                    ),
                ),
            ],
            options={
                "permissions": [("complete_wait", "Can complete, skip and extend waits")],
            },
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
                ("task", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                (
                    "queue",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                (
                    "state",
                    trigger_celery_django.models.fields.IdentityField(
                        choices=[
                            ("open", "open"),
                            ("retried", "retried"),
                            ("resolved", "resolved"),
                            ("discarded", "discarded"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "fingerprint",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=16),
                ),
                (
                    "kind",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("message", trigger_celery_django.models.fields.PayloadField(blank=True)),
                (
                    "step",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=500),
                ),
                (
                    "place",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("error", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("attempts", models.PositiveIntegerField(default=1)),
                ("crashes", models.PositiveIntegerField(default=0)),
                ("returns", models.PositiveIntegerField(default=0)),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "by",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("reason", trigger_celery_django.models.fields.PayloadField(blank=True)),
                ("tallied", models.BooleanField(default=False)),
                (
                    "counted_group",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=16),
                ),
                (
                    "counted_state",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=16),
                ),
                ("counted_seen", models.PositiveIntegerField(default=0)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["state", "last_seen_at"], name="trigger_letter_seen"),
                    models.Index(
                        fields=["fingerprint", "state", "last_seen_at"], name="trigger_letter_group"
                    ),
                    models.Index(
                        fields=["task", "state", "last_seen_at"], name="trigger_letter_task"
                    ),
                    models.Index(
                        fields=["kind", "state", "last_seen_at"], name="trigger_letter_kind"
                    ),
                    trigger_celery_django.models.fields.PartialIndex(
                        condition=models.Q(("queue", ""), _negated=True),
                        fields=["queue", "state", "last_seen_at"],
                        name="trigger_letter_queue",
                    ),
                    trigger_celery_django.models.fields.PartialIndex(
                        condition=models.Q(("tallied", False)),
                        fields=["tallied", "last_seen_at"],
                        name="trigger_letter_tally",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["open", "retried", "resolved", "discarded"])
                        ),
                        name="trigger_letter_state",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Slot",
            fields=[
                (
                    "run",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="slot",
                        serialize=False,
                        to="trigger_celery.run",
                    ),
                ),
                ("queue", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                (
                    "key",
                    trigger_celery_django.models.fields.IdentityField(blank=True, max_length=255),
                ),
                ("task", trigger_celery_django.models.fields.IdentityField(max_length=255)),
                ("line_at", models.DateTimeField()),
                ("fence", models.BigIntegerField(null=True)),
                ("promised_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    trigger_celery_django.models.fields.PartialIndex(
                        condition=models.Q(("fence", None), ("promised_at", None)),
                        fields=["queue", "key", "task", "line_at", "run"],
                        name="trigger_slot_line",
                    ),
                    trigger_celery_django.models.fields.PartialIndex(
                        condition=models.Q(
                            ("fence__isnull", False),
                            ("promised_at__isnull", False),
                            _connector="OR",
                        ),
                        fields=["fence", "promised_at", "queue", "task"],
                        name="trigger_slot_held",
                    ),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(
                    models.Q(("state", "queued"), _negated=True),
                    models.Q(("due_at", None), _negated=True),
                ),
                fields=["state", "due_at"],
                name="trigger_run_due",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(("due_at__lte", models.F("available_at")), ("state", "queued")),
                fields=["due_at", "available_at"],
                name="trigger_run_start",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(("due_at__gt", models.F("available_at")), ("state", "queued")),
                fields=["task", "due_at"],
                name="trigger_run_unclaimed",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(("deadline_at", None), _negated=True),
                fields=["deadline_at"],
                name="trigger_run_deadline",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(("parent", None), _negated=True),
                fields=["parent", "parent_key", "state"],
                name="trigger_run_children",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["created_at"], name="trigger_run_created"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(
                    (
                        "created_at__gt",
                        datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.UTC),
                    )
                ),
                fields=["task", "created_at"],
                name="trigger_run_task",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(
                    (
                        "created_at__gt",
                        datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.UTC),
                    )
                ),
                fields=["state", "created_at"],
                name="trigger_run_state_time",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(
                    (
                        "created_at__gt",
                        datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.UTC),
                    ),
                    models.Q(("queue", ""), _negated=True),
                ),
                fields=["queue", "created_at"],
                name="trigger_run_queue",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(
                    (
                        "created_at__gt",
                        datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.UTC),
                    ),
                    models.Q(("schedule", ""), _negated=True),
                ),
                fields=["schedule", "created_at"],
                name="trigger_run_schedule",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(
                    (
                        "created_at__gt",
                        datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.UTC),
                    ),
                    models.Q(("root", None), _negated=True),
                ),
                fields=["root", "created_at"],
                name="trigger_run_root",
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
        migrations.AddConstraint(
            model_name="checkpoint",
            constraint=models.UniqueConstraint(
                fields=("run", "key"), name="trigger_checkpoint_key"
            ),
        ),
        migrations.AddIndex(
            model_name="bulkoperation",
            index=models.Index(fields=["created_at"], name="trigger_bulk_created"),
        ),
        migrations.AddIndex(
            model_name="bulkoperation",
            index=models.Index(fields=["state", "created_at"], name="trigger_bulk_state_time"),
        ),
        migrations.AddConstraint(
            model_name="bulkoperation",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["running", "paused", "completed", "aborted"])),
                name="trigger_bulk_state",
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
        migrations.AddConstraint(
            model_name="runkey",
            constraint=models.UniqueConstraint(
                fields=("purpose", "task", "digest"), name="trigger_key"
            ),
        ),
        migrations.AddIndex(
            model_name="runtag",
            index=models.Index(fields=["tag", "run"], name="trigger_tag"),
        ),
        migrations.AddConstraint(
            model_name="runtag",
            constraint=models.UniqueConstraint(fields=("run", "tag"), name="trigger_tag_run"),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(("due_at__isnull", False)),
                fields=["due_at"],
                name="trigger_schedule_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("overlap__in", ["allow", "skip", "buffer", "cancel"])),
                name="trigger_schedule_overlap",
            ),
        ),
        migrations.AddIndex(
            model_name="token",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(("closed_at__isnull", False), ("settled_at", None)),
                fields=["settled_at", "closed_at"],
                name="trigger_token_unsettled",
            ),
        ),
        migrations.AddConstraint(
            model_name="token",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["waiting", "completed", "canceled"])),
                name="trigger_token_state",
            ),
        ),
        migrations.AddIndex(
            model_name="wait",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(
                    ("state", "waiting"), models.Q(("match_hash", None), _negated=True)
                ),
                fields=["match_hash", "id"],
                name="trigger_wait_match",
            ),
        ),
        migrations.AddIndex(
            model_name="wait",
            index=trigger_celery_django.models.fields.PartialIndex(
                condition=models.Q(("token", None), _negated=True),
                fields=["token", "id"],
                name="trigger_wait_token",
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
                condition=models.Q(
                    ("state__in", ["waiting", "event", "completed", "timeout", "canceled"])
                ),
                name="trigger_wait_state",
            ),
        ),
    ]
