// Package metrics is what an application tells of itself in numbers. It uses the standard library only; metrics/prom and
// metrics/otel bring the numbers to Prometheus and OpenTelemetry, and a program imports the one that it uses.
//
// Nothing is counted for it while records are processed: every Config.MetricsInterval the engine asks its tasks, between
// two of their steps, how they stand, and hands the answer to the receivers of Config.Metrics as one Sample.
package metrics

import (
	"strings"
	"time"
)

// Kind tells whether a metric goes up only.
type Kind uint8

// The kinds.
const (
	// Gauge is a value as of now.
	Gauge Kind = iota
	// Counter is a sum since the application was started. It never falls while it is reported; after a restart, or when a
	// task comes back, it begins at zero.
	Counter
)

// Metric describes one metric. Its name, labels and meaning are part of the public interface: they change only as the
// API does. Names follow Prometheus: base units, counters end in _total.
type Metric struct {
	Name   string
	Kind   Kind
	Unit   string   // "s", "By", "1", or what is counted in braces: "{record}", as OpenTelemetry writes them
	Labels []string // names of the labels, in the order of Point.Values
	Help   string
}

// The metrics of an application. Each of its instances reports its own part.
var (
	Records         = counter("millstream_records_total", "{record}", "topic,partition", "Records that were read and processed.")
	RecordLag       = gauge("millstream_record_lag", "{record}", "topic,partition", "Records between what was processed and the end of the partition, as of the last fetch.")
	TimeLag         = gauge("millstream_time_lag_seconds", "s", "topic,partition", "Age of the newest event time that was processed; 0 while nothing waits to be processed.")
	Watermark       = gauge("millstream_watermark_seconds", "s", "topic,partition", "The partition's watermark, in seconds since 1970. Absent while it is unknown.")
	QueuedBytes     = gauge("millstream_queued_bytes", "By", "topic,partition", "Bytes that were fetched and wait to be processed.")
	Idle            = gauge("millstream_partition_idle", "1", "topic,partition", "1 while the partition is idle, so that it holds no watermark back.")
	Waits           = gauge("millstream_partition_waits", "1", "topic,partition", "1 while the partition is so far ahead of others that it is not read (Watermark.Align).")
	GapRecords      = counter("millstream_gap_records_total", "{record}", "topic,partition", "Positions that were deleted by their broker before they were read, and passed over (source.OnDeleted).")
	Doubted         = counter("millstream_doubted_records_total", "{record}", "topic,partition", "Records whose event time lay too far ahead to be believed (source.MaxJump).")
	Late            = counter("millstream_late_records_total", "{record}", "task,operator", "Records that came after their window had closed.")
	Skipped         = counter("millstream_skipped_records_total", "{record}", "task,operator", "Records that were given up on and dropped, by their error policy.")
	DeadLettered    = counter("millstream_dead_lettered_records_total", "{record}", "task,operator", "Records that were given up on and written to a dead-letter topic.")
	Operator        = counter("millstream_operator_records_total", "{record}", "task,operator,outcome", "Records that came to an operator (in), and what has become of them: passed, filtered, late, skipped, dead-lettered, withdrawn, lapsed.")
	HeldRecords     = gauge("millstream_operator_held_records", "{record}", "task,operator", "Records that an operator holds back, less those that it held when its task began on this instance.")
	Unaccounted     = gauge("millstream_operator_unaccounted_records", "{record}", "task,operator", "Records that came to an operator and of which it does not say what has become: 0, unless there is a mistake in the engine.")
	Expired         = counter("millstream_expired_values_total", "{value}", "task,operator", "Values of state handles that were removed, or not kept, for their age.")
	Retries         = counter("millstream_retries_total", "{attempt}", "task,operator", "Further attempts at a record that had failed: by the policy of its source or operator (onerror.Retry), or by the Retry of an Async.")
	HotKeyShare     = gauge("millstream_hot_key_share", "1", "task,operator", "Share that the most frequent key has of the records with keys that come to a task, among the last 30,000 to 60,000 or so, on a sample. Absent before some 4,000.")
	Tasks           = gauge("millstream_tasks", "{task}", "state", "Tasks of this instance, by state: restoring or running.")
	CacheBytes      = gauge("millstream_state_cache_bytes", "By", "task", "State that is held in memory, about.")
	DirtyBytes      = gauge("millstream_state_dirty_bytes", "By", "task", "State that has changed since the last epoch, about.")
	StoreReads      = counter("millstream_state_store_reads_total", "{read}", "task", "Look-ups that the cache of a task could not answer, so that the store was read.")
	StateBytes      = gauge("millstream_state_disk_bytes", "By", "", "Size of the state directory's database.")
	BlockHits       = counter("millstream_store_block_cache_hits_total", "{read}", "", "Blocks of the database that were found in its cache.")
	BlockMisses     = counter("millstream_store_block_cache_misses_total", "{read}", "", "Blocks of the database that were read from the disk.")
	WriteStalls     = counter("millstream_store_write_stalls_total", "{stall}", "", "How often the database held its writers back.")
	DiskFull        = gauge("millstream_store_disk_full", "1", "", "1 while the disk of the state directory is full, and the application waits for space.")
	Epochs          = counter("millstream_epochs_total", "{epoch}", "", "Epochs that were committed.")
	EpochSeconds    = counter("millstream_epoch_seconds_total", "s", "phase", "Time that committed epochs took to end, by phase: produce, flush, commit, apply. Divided by the epochs it is their mean.")
	EpochLongest    = gauge("millstream_epoch_longest_seconds", "s", "", "The longest that an epoch took to end since the last sample.")
	EpochAge        = gauge("millstream_epoch_age_seconds", "s", "", "Time since an epoch was committed; 0 while there is nothing to commit.")
	RestoredRecords = counter("millstream_restore_records_total", "{record}", "task", "Changelog records that were read to restore tasks.")
	RestoredBytes   = counter("millstream_restore_bytes_total", "By", "task", "Bytes of keys and values of those.")
	RestoreLeft     = gauge("millstream_restore_remaining_records", "{record}", "task", "Positions of the changelog that a task being restored has still to read. Absent where the end is unknown.")
	StandbyLag      = gauge("millstream_standby_lag", "{record}", "task", "Positions of the changelog between the copy of a task's state that this instance keeps, while another one runs the task, and its end.")
	StandbyRecords  = counter("millstream_standby_records_total", "{record}", "task", "Changelog records that were read into such copies.")
	Discarded       = counter("millstream_state_discarded_total", "{copy}", "task", "Local copies of a task's state that were deleted, because they were too old or did not fit the changelog any more.")
	BackPressure    = gauge("millstream_back_pressure_ratio", "1", "", "Share of the time since the last sample in which nothing was fetched because the queues were full.")
	Sessions        = counter("millstream_sessions_total", "{session}", "", "Sessions that were opened: one at the start, and one after each failure that passed by itself.")
)

// All returns every metric.
func All() []*Metric {
	return append([]*Metric{Records, RecordLag, TimeLag, Watermark, QueuedBytes, Idle, Waits, GapRecords, Doubted, Late, Skipped, DeadLettered, Operator, HeldRecords, Unaccounted, Expired, Retries, HotKeyShare, Tasks, CacheBytes, DirtyBytes, StoreReads,
		StateBytes, BlockHits, BlockMisses, WriteStalls, DiskFull, Epochs, EpochSeconds, EpochLongest, EpochAge, RestoredRecords, RestoredBytes, RestoreLeft,
		StandbyLag, StandbyRecords, Discarded, BackPressure, Sessions}, kinesis()...)
}

func gauge(name, unit, labels, help string) *Metric { return metric(Gauge, name, unit, labels, help) }
func counter(name, unit, labels, help string) *Metric {
	return metric(Counter, name, unit, labels, help)
}

func metric(kind Kind, name, unit, labels, help string) *Metric {
	m := &Metric{Name: name, Kind: kind, Unit: unit, Help: help}
	if labels != "" {
		m.Labels = strings.Split(labels, ",")
	}
	return m
}

// Point is the value of a metric for one set of labels.
type Point struct {
	Metric *Metric
	Values []string // of Metric.Labels
	Value  float64
}

// Sample is how an instance of an application stands at one moment. It is not changed after it was handed over, so it
// may be kept.
type Sample struct {
	App, Instance string
	At            time.Time
	Points        []Point
}

// Receiver is told how an instance stands.
type Receiver interface {
	// Receive is called from one goroutine, sample after sample, while the application runs, and a last time, without
	// points, when it has ended. The next sample waits until it returns; records do not.
	Receive(s Sample)
}
