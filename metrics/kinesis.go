package metrics

// The metrics of instances that read or write streams of Kinesis (connect/kinesis). A shard's are reported by the instance
// that reads or writes it.
var (
	KinesisAge        = gauge("millstream_kinesis_iterator_age_seconds", "s", "stream,shard", "How far the last answer lay behind the newest record of the shard (MillisBehindLatest); where there has been none for long, with the time since.")
	KinesisRecords    = counter("millstream_kinesis_read_records_total", "{record}", "stream,shard", "Records that were read of the shard, those of aggregates one by one.")
	KinesisBytes      = counter("millstream_kinesis_read_bytes_total", "By", "stream,shard", "Bytes of data and keys that were read of the shard.")
	KinesisGets       = counter("millstream_kinesis_get_records_total", "{call}", "stream", "Calls of GetRecords that were answered without an error.")
	KinesisGetSeconds = counter("millstream_kinesis_get_records_seconds_total", "s", "stream", "Time that those calls took. Divided by them it is their mean.")
	KinesisGetLongest = gauge("millstream_kinesis_get_records_longest_seconds", "s", "stream", "The longest of those calls since the last sample.")
	KinesisThrottled  = counter("millstream_kinesis_throttled_total", "{refusal}", "stream,shard", "Calls, and records of requests, that the service refused for their rate. The shard is empty where a call was not about one.")
	KinesisRetries    = counter("millstream_kinesis_retries_total", "{attempt}", "stream", "Calls, and records of requests, that were repeated after another passing failure.")
	KinesisExpired    = counter("millstream_kinesis_expired_iterators_total", "{iterator}", "stream", "Iterators that had expired, and were taken anew.")
	KinesisReconnects = counter("millstream_kinesis_reconnects_total", "{connection}", "stream", "Connections over which a shard was pushed (enhanced fan-out) that have ended, and were followed by others.")
	KinesisFallbacks  = counter("millstream_kinesis_fallbacks_total", "{shard}", "stream", "Shards that could not be pushed, and were polled instead.")
	KinesisDamaged    = counter("millstream_kinesis_damaged_aggregates_total", "{aggregate}", "stream", "Aggregates that are damaged, and were handed on as they are.")
	KinesisForeign    = counter("millstream_kinesis_foreign_records_total", "{record}", "stream", "Records of aggregates in which one belongs to another shard.")
	KinesisEnded      = counter("millstream_kinesis_ended_shards_total", "{shard}", "stream", "Shards that were split or merged, and read to their ends.")
	KinesisUnfinished = gauge("millstream_kinesis_unfinished_parents", "{shard}", "stream", "Shards that were split or merged, and are not processed to their ends: those that follow them wait.")

	KinesisLeases          = gauge("millstream_kinesis_leases", "{shard}", "stream", "Shards that this instance has.")
	KinesisTaken           = counter("millstream_kinesis_leases_taken_total", "{lease}", "stream", "Shards that this instance has taken.")
	KinesisLost            = counter("millstream_kinesis_leases_lost_total", "{lease}", "stream", "Shards that it has lost without being asked for them.")
	KinesisHandedOver      = counter("millstream_kinesis_leases_handed_over_total", "{lease}", "stream", "Shards that it was asked for by another instance, and has given up.")
	KinesisHandOverSeconds = counter("millstream_kinesis_hand_over_seconds_total", "s", "stream", "Time from asking to giving up, of those. Divided by them it is their mean.")
	KinesisCheckpointAge   = gauge("millstream_kinesis_checkpoint_age_seconds", "s", "stream,shard", "Time for which more of the shard has been processed than its lease says; 0 while the lease says all.")
	KinesisUnread          = gauge("millstream_kinesis_unread_shards", "{shard}", "stream", "Shards whose leases nobody has renewed for minutes, as seen by the instance that leads; 0 on the others.")
	KinesisAlarms          = counter("millstream_kinesis_lease_alarms_total", "{alarm}", "stream,alarm", "Alarms about leases: forgotten, missing, hole, unread, broken (lease.Alarm).")

	KinesisPuts      = counter("millstream_kinesis_put_requests_total", "{request}", "stream", "Requests that were sent: calls of PutRecords, or of PutRecord.")
	KinesisPutFill   = counter("millstream_kinesis_put_records_total", "{record}", "stream", "Records in those requests, an aggregate being one. Divided by them it is how full they are, of 500.")
	KinesisPartial   = counter("millstream_kinesis_partial_failures_total", "{request}", "stream", "Requests of which the service has taken some records and refused others.")
	KinesisDoubled   = counter("millstream_kinesis_possible_duplicates_total", "{record}", "stream", "Records that were sent again after a call whose outcome is not known.")
	KinesisRewritten = counter("millstream_kinesis_rewritten_records_total", "{record}", "stream", "Records that were written again, because their aggregate came into a shard that does not own all of them.")
	KinesisWritten   = counter("millstream_kinesis_written_records_total", "{record}", "stream,shard", "Records that the shard has acknowledged, an aggregate being one.")
	KinesisWrote     = counter("millstream_kinesis_written_bytes_total", "By", "stream,shard", "Bytes of data and keys of those.")
)

func kinesis() []*Metric {
	return []*Metric{KinesisAge, KinesisRecords, KinesisBytes, KinesisGets, KinesisGetSeconds, KinesisGetLongest, KinesisThrottled, KinesisRetries, KinesisExpired, KinesisReconnects, KinesisFallbacks, KinesisDamaged, KinesisForeign,
		KinesisEnded, KinesisUnfinished, KinesisLeases, KinesisTaken, KinesisLost, KinesisHandedOver, KinesisHandOverSeconds, KinesisCheckpointAge, KinesisUnread, KinesisAlarms, KinesisPuts, KinesisPutFill, KinesisPartial, KinesisDoubled,
		KinesisRewritten, KinesisWritten, KinesisWrote}
}
