/**
 * What the server's own functions, relations and operators can do beyond computing. The catalog says which functions are
 * volatile; these tables say what that means for each. A volatile function that no table names has every effect, so a
 * later PostgreSQL's new function is refused until it has been looked at. From pg_proc of PostgreSQL 15 to 18.
 */
import type { Effect } from '../../../core/operation.ts';

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

export interface BuiltinEffects {
  readonly effects: readonly Effect[];
  /** Runs SQL or reads what analysis can't see: under masks it is refused. */
  readonly opaque?: string;
}

const READ: readonly Effect[] = ['read'];
const SQL = 'it runs SQL that it is given as text';
const FILE = 'it reads files of the server';
const LOG = 'it reads changes out of the write-ahead log';

function table(
  ...rows: readonly (readonly [string, readonly Effect[], string?])[]
): ReadonlyMap<string, BuiltinEffects> {
  const map = new Map<string, BuiltinEffects>();
  for (const [names, effects, opaque] of rows) {
    for (const name of words(names)) map.set(name, opaque === undefined ? { effects } : { effects, opaque });
  }
  return map;
}

/** By name; all overloads of a name count as the worst of them. */
export const FUNCTION_EFFECTS = table(
  // harmless although volatile
  [
    `random random_normal clock_timestamp timeofday gen_random_uuid uuidv4 uuidv7 current_query currval lastval currtid2
     pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size pg_database_size pg_tablespace_size
     pg_sequence_last_value pg_get_sequence_data pg_partition_tree pg_partition_ancestors pg_is_in_recovery
     pg_is_wal_replay_paused pg_get_wal_replay_pause_state pg_notification_queue_usage pg_blocking_pids
     pg_safe_snapshot_blocking_pids pg_isolation_test_session_is_blocked pg_jit_available pg_current_wal_flush_lsn
     pg_current_wal_insert_lsn pg_current_wal_lsn pg_last_wal_receive_lsn pg_last_wal_replay_lsn
     pg_last_xact_replay_timestamp pg_last_committed_xact pg_xact_commit_timestamp pg_xact_commit_timestamp_origin
     pg_xact_status txid_status pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system
     pg_collation_actual_version pg_database_collation_actual_version pg_get_backend_memory_contexts
     pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_multixact_members pg_get_wal_resource_managers
     pg_lock_status pg_prepared_xact pg_replication_origin_progress pg_replication_origin_session_is_setup
     pg_replication_origin_session_progress pg_show_replication_origin_status pg_stat_get_recovery_prefetch
     pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls
     pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans
     pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated
     pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_newpage_updated pg_stat_get_xact_tuples_returned
     pg_stat_get_xact_tuples_updated pg_stat_have_stats pg_stat_clear_snapshot pg_stat_force_next_flush
     pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all lo_close lo_lseek lo_lseek64 lo_tell lo_tell64
     pg_get_loaded_modules pg_get_aios pg_available_wal_summaries pg_get_wal_summarizer_state amvalidate
     pg_numa_available`,
    READ,
  ],
  // change the session or hold something of the server's
  [
    `pg_sleep pg_sleep_for pg_sleep_until setseed txid_current pg_current_xact_id pg_export_snapshot
     pg_advisory_lock pg_advisory_lock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock
     pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared`,
    ['session'],
  ],
  ['set_config', ['session']],
  ['pg_notify', ['session', 'network']],
  // write
  ['nextval setval lo_creat lo_create lo_from_bytea lo_put lo_unlink lowrite lo_truncate lo_truncate64', ['write']],
  ['lo_get loread lo_open', READ],
  [
    `brin_desummarize_range brin_summarize_new_values brin_summarize_range gin_clean_pending_list
     pg_logical_emit_message`,
    ['write', 'ddl'],
  ],
  ['pg_import_system_collations', ['privilege', 'ddl']],
  // administration
  [
    `pg_terminate_backend pg_cancel_backend pg_switch_wal pg_create_restore_point pg_backup_start pg_backup_stop
     pg_start_backup pg_stop_backup pg_promote pg_reload_conf pg_rotate_logfile pg_rotate_logfile_old
     pg_wal_replay_pause pg_wal_replay_resume pg_log_backend_memory_contexts pg_stat_reset pg_stat_reset_shared
     pg_stat_reset_single_table_counters pg_stat_reset_single_function_counters pg_stat_reset_slru
     pg_stat_reset_replication_slot pg_stat_reset_subscription_stats pg_stat_reset_backend_stats
     pg_create_physical_replication_slot pg_create_logical_replication_slot pg_copy_physical_replication_slot
     pg_copy_logical_replication_slot pg_drop_replication_slot pg_replication_slot_advance pg_sync_replication_slots
     pg_replication_origin_create pg_replication_origin_drop pg_replication_origin_advance
     pg_replication_origin_session_setup pg_replication_origin_session_reset pg_replication_origin_xact_setup
     pg_replication_origin_xact_reset pg_extension_config_dump pg_stop_making_pinned_objects pg_nextoid
     pg_clear_relation_stats pg_restore_relation_stats pg_clear_attribute_stats pg_restore_attribute_stats`,
    ['privilege'],
  ],
  [
    `pg_logical_slot_get_changes pg_logical_slot_get_binary_changes pg_logical_slot_peek_changes
     pg_logical_slot_peek_binary_changes`,
    ['privilege'],
    LOG,
  ],
  // files
  ['pg_read_file pg_read_binary_file pg_read_file_old lo_import', ['file'], FILE],
  [
    `pg_ls_dir pg_ls_logdir pg_ls_waldir pg_ls_archive_statusdir pg_ls_tmpdir pg_ls_logicalsnapdir pg_ls_logicalmapdir
     pg_ls_replslotdir pg_ls_summariesdir pg_stat_file pg_current_logfile pg_hba_file_rules pg_ident_file_mappings
     pg_show_all_file_settings pg_wal_summary_contents`,
    ['file'],
  ],
  ['lo_export', ['file'], 'it writes files of the server'],
  // SQL as an argument
  [
    `query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml
     table_to_xml_and_xmlschema schema_to_xml schema_to_xml_and_xmlschema database_to_xml
     database_to_xml_and_xmlschema ts_stat`,
    ['code'],
    SQL,
  ],
);

/** Functions that give a result whatever value they are given. */
export const SAFE_FUNCTIONS: ReadonlySet<string> = new Set(
  words(`count min max avg sum array_agg json_agg jsonb_agg string_agg bool_and bool_or every mode first_value last_value
         lag lead row_number rank dense_rank percent_rank cume_dist to_json to_jsonb row_to_json json_build_array
         jsonb_build_array concat concat_ws length char_length character_length octet_length bit_length lower upper
         initcap reverse md5 sha256 btrim ltrim rtrim trim left right quote_literal quote_ident quote_nullable
         pg_typeof pg_column_size now random coalesce`),
);

/** Functions that run SQL only in the form with this many arguments. */
export const SQL_BY_COUNT: ReadonlyMap<string, number> = new Map([['ts_rewrite', 2]]);

/**
 * Columns of the server's own relations whose content is made of users' values or statements: while any mask applies,
 * they count as protected. Key: relation of pg_catalog.
 */
export const STAND_INS: ReadonlyMap<string, readonly string[]> = new Map([
  [
    'pg_stats',
    words(`most_common_vals most_common_freqs histogram_bounds correlation most_common_elems most_common_elem_freqs
           elem_count_histogram range_length_histogram range_bounds_histogram range_empty_frac`),
  ],
  [
    'pg_statistic',
    words(
      `stavalues1 stavalues2 stavalues3 stavalues4 stavalues5 stanumbers1 stanumbers2 stanumbers3 stanumbers4 stanumbers5`,
    ),
  ],
  [
    'pg_stats_ext',
    words('most_common_vals most_common_val_nulls most_common_freqs most_common_base_freqs dependencies'),
  ],
  [
    'pg_stats_ext_exprs',
    words(`most_common_vals most_common_freqs histogram_bounds correlation most_common_elems most_common_elem_freqs
           elem_count_histogram range_length_histogram range_bounds_histogram range_empty_frac`),
  ],
  ['pg_statistic_ext_data', words('stxdmcv stxdexpr stxdndistinct stxddependencies')],
  ['pg_stat_activity', words('query')],
  ['pg_prepared_statements', words('statement')],
  ['pg_cursors', words('statement')],
  ['pg_prepared_xacts', words('gid')],
  ['pg_largeobject', words('data')],
]);

/** The same for relations of extensions, whatever their schema. */
export const EXTENSION_STAND_INS: ReadonlyMap<string, readonly string[]> = new Map([
  ['pg_stat_statements', words('query')],
]);

/** Functions that give such a column without naming its relation: relation and column that they stand for. */
export const FUNCTION_STAND_INS: ReadonlyMap<string, readonly [string, string]> = new Map([
  ['pg_stat_get_activity', ['pg_stat_activity', 'query']],
  ['pg_stat_get_backend_activity', ['pg_stat_activity', 'query']],
  ['pg_prepared_statement', ['pg_prepared_statements', 'statement']],
  ['pg_cursor', ['pg_cursors', 'statement']],
  ['pg_prepared_xact', ['pg_prepared_xacts', 'gid']],
  ['lo_get', ['pg_largeobject', 'data']],
  ['loread', ['pg_largeobject', 'data']],
]);

/** Relations of the server whose rows come from its files. */
export const FILE_RELATIONS: ReadonlySet<string> = new Set(
  words('pg_hba_file_rules pg_file_settings pg_ident_file_mappings'),
);

/** Columns of the server's relations that hold passwords or their hashes; read, they are named, and more than reading. */
export const SECRET_COLUMNS: ReadonlyMap<string, string> = new Map([
  ['pg_authid', 'rolpassword'],
  ['pg_shadow', 'passwd'],
  ['pg_user_mapping', 'umoptions'],
  ['pg_user_mappings', 'umoptions'],
  ['pg_subscription', 'subconninfo'],
]);

/** Names of the server's own operators. One that is neither here nor in the catalog is not known. */
export const OPERATORS: ReadonlySet<string> = new Set(
  words(`!! !~ !~* !~~ !~~* # ## #- #> #>> % & && &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- / < <-> << <<= <<| <=
         <> != <@ <^ = > >= >> >>= >^ ? ?# ?& ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@ | |&> |/ |>> || ||/ ~ ~* ~<=~ ~<~ ~=
         ~>=~ ~>~ ~~ ~~*`),
);

/** Operators that compare: their result tells no more than which values match. */
export const COMPARISONS: ReadonlySet<string> = new Set(
  words('= <> != < > <= >= ~~ !~~ ~~* !~~* ~ !~ ~* !~* ^@ ~<=~ ~<~ ~>=~ ~>~'),
);

export const SAMPLING_METHODS: ReadonlySet<string> = new Set(['bernoulli', 'system']);
