PRAGMA application_id = 1633836849;
BEGIN TRANSACTION;
CREATE TABLE ab_database (
                one INTEGER PRIMARY KEY CHECK (one = 1),
                database_id TEXT NOT NULL,
                created_at REAL NOT NULL,
                commits INTEGER NOT NULL
            );
INSERT INTO "ab_database" VALUES(1,'78a432841a085e0f52ae6ea66af3383d',1795310365.0,13);
CREATE TABLE ab_events (
                event_id INTEGER PRIMARY KEY AUTOINCREMENT,
                probe_id INTEGER NOT NULL REFERENCES ab_probes (probe_id),
                at REAL NOT NULL,
                event TEXT NOT NULL,
                facts TEXT NOT NULL
            );
INSERT INTO "ab_events" VALUES(1,1,1.79531036516703248022e+09,'started','{"pid": 4242, "start_time_ticks": 100, "boot_id": "b"}');
INSERT INTO "ab_events" VALUES(2,1,1.79531036516892576219e+09,'sample','{"host_bytes": 1073741824, "device_bytes": 2147483648, "phase": "worst_case"}');
INSERT INTO "ab_events" VALUES(3,2,1.79531036517032313343e+09,'started','{"pid": 4243, "start_time_ticks": 100, "boot_id": "b"}');
INSERT INTO "ab_events" VALUES(4,2,1.79531036517468333248e+09,'sample','{"host_bytes": 1073741824, "device_bytes": 2147483648, "phase": "worst_case"}');
INSERT INTO "ab_events" VALUES(5,2,1.79531036517657780642e+09,'intent','{"reason": "over the limit"}');
INSERT INTO "ab_events" VALUES(6,3,1.7953103651790552139e+09,'started','{"pid": 4244, "start_time_ticks": 100, "boot_id": "b"}');
INSERT INTO "ab_events" VALUES(7,3,1.7953103651794230938e+09,'sample','{"host_bytes": 1073741824, "device_bytes": 2147483648, "phase": "worst_case"}');
CREATE TABLE ab_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at REAL NOT NULL);
INSERT INTO "ab_migrations" VALUES(1,'ledger and queue',1.79531036513954687112e+09);
CREATE TABLE ab_owners (
                owner_id INTEGER PRIMARY KEY AUTOINCREMENT,
                boot_id TEXT NOT NULL,
                pid_namespace TEXT NOT NULL,
                pid INTEGER NOT NULL,
                start_time_ticks INTEGER NOT NULL,
                command TEXT NOT NULL,
                since REAL NOT NULL,
                ended_at REAL
            );
INSERT INTO "ab_owners" VALUES(1,'00000000-0000-0000-0000-000000000000','4026531836:1',4000,90,'autobatch search',1.79531036516165018075e+09,NULL);
CREATE TABLE ab_probes (
                probe_id INTEGER PRIMARY KEY AUTOINCREMENT,
                owner_id INTEGER NOT NULL REFERENCES ab_owners (owner_id),
                study TEXT NOT NULL,
                trial_number INTEGER NOT NULL,
                attempt INTEGER NOT NULL,
                purpose TEXT NOT NULL,
                stage TEXT NOT NULL,
                digest TEXT NOT NULL,
                configuration TEXT NOT NULL,
                begun_at REAL NOT NULL,
                ended_at REAL,
                kind TEXT,
                verdict TEXT,
                released_at REAL
            );
INSERT INTO "ab_probes" VALUES(1,1,'kobart',0,1,'probe','search','b4fd1da65156f7d9','{"attn_implementation": "sdpa", "dataloader_num_workers": 2, "dataloader_pin_memory": true, "dataloader_prefetch_factor": 2, "gradient_accumulation_steps": 1, "gradient_checkpointing": false, "method": "full", "optim": "adamw_torch_fused", "per_device_eval_batch_size": 8, "per_device_train_batch_size": 1, "precision": "fp32", "pytorch_alloc_conf": "", "quantization": "none", "torch_compile": false, "train_sampling_strategy": "random", "use_liger_kernel": false}',1.7953103651619055271e+09,1.79531036516930460932e+09,'ok','{"kind": "ok", "confidence": "certain", "evidence": {}, "duration_s": 0.0, "measurements": {"samples_per_s": 12.5}}',NULL);
INSERT INTO "ab_probes" VALUES(2,1,'kobart',1,1,'probe','search','c04f3ccc7628523c','{"attn_implementation": "sdpa", "dataloader_num_workers": 2, "dataloader_pin_memory": true, "dataloader_prefetch_factor": 2, "gradient_accumulation_steps": 1, "gradient_checkpointing": false, "method": "full", "optim": "adamw_torch_fused", "per_device_eval_batch_size": 8, "per_device_train_batch_size": 2, "precision": "fp32", "pytorch_alloc_conf": "", "quantization": "none", "torch_compile": false, "train_sampling_strategy": "random", "use_liger_kernel": false}',1.7953103651699850559e+09,1.79531036517763447754e+09,'killed_in_flight','{"kind": "killed_in_flight", "confidence": "certain", "evidence": {"cause": "the machine was restarted"}, "duration_s": 0.0, "measurements": {}}',NULL);
INSERT INTO "ab_probes" VALUES(3,1,'kobart',2,1,'probe','search','050696f2c3425bb3','{"attn_implementation": "sdpa", "dataloader_num_workers": 2, "dataloader_pin_memory": true, "dataloader_prefetch_factor": 2, "gradient_accumulation_steps": 1, "gradient_checkpointing": false, "method": "full", "optim": "adamw_torch_fused", "per_device_eval_batch_size": 8, "per_device_train_batch_size": 4, "precision": "fp32", "pytorch_alloc_conf": "", "quantization": "none", "torch_compile": false, "train_sampling_strategy": "random", "use_liger_kernel": false}',1.79531036517819929127e+09,NULL,NULL,NULL,NULL);
CREATE TABLE ab_queue (
                entry_id INTEGER PRIMARY KEY AUTOINCREMENT,
                job TEXT NOT NULL,
                on_done TEXT,
                submitted_at REAL NOT NULL,
                state TEXT NOT NULL,
                wanted TEXT NOT NULL,
                reason TEXT NOT NULL DEFAULT '',
                study TEXT,
                device TEXT,
                worker TEXT,
                starts INTEGER NOT NULL DEFAULT 0,
                started_at REAL,
                ended_at REAL,
                worked_s REAL NOT NULL DEFAULT 0,
                answer TEXT,
                setbacks INTEGER NOT NULL DEFAULT 0,
                retry_at REAL
            );
INSERT INTO "ab_queue" VALUES(1,'{}',NULL,1795310365.0,'queued','run','',NULL,NULL,NULL,0,NULL,NULL,0.0,NULL,0,NULL);
CREATE INDEX ab_probes_by_trial ON ab_probes (study, trial_number);
CREATE INDEX ab_probes_by_digest ON ab_probes (study, digest);
CREATE INDEX ab_probes_by_kind ON ab_probes (study, kind);
CREATE INDEX ab_probes_in_flight ON ab_probes (owner_id, study) WHERE ended_at IS NULL;
CREATE INDEX ab_events_by_probe ON ab_events (probe_id);
CREATE INDEX ab_queue_by_state ON ab_queue (state);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('ab_owners',1);
INSERT INTO "sqlite_sequence" VALUES('ab_probes',3);
INSERT INTO "sqlite_sequence" VALUES('ab_events',7);
INSERT INTO "sqlite_sequence" VALUES('ab_queue',1);
COMMIT;
