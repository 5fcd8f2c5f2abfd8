package kinesistest

import (
	"math/big"
	"sort"
	"strconv"
	"time"
)

// actions are those of the API that the service for tests has.
var actions = map[string]action{
	"CreateStream":             do(createStream),
	"DeleteStream":             do(deleteStream),
	"DeregisterStreamConsumer": do(deregisterStreamConsumer),
	"DescribeStreamConsumer":   do(describeStreamConsumer),
	"DescribeStreamSummary":    do(describeStreamSummary),
	"GetRecords":               do(getRecords),
	"GetShardIterator":         do(getShardIterator),
	"ListShards":               do(listShards),
	"ListStreamConsumers":      do(listStreamConsumers),
	"ListStreams":              do(listStreams),
	"MergeShards":              do(mergeShards),
	"PutRecord":                do(putRecord),
	"PutRecords":               do(putRecords),
	"RegisterStreamConsumer":   do(registerStreamConsumer),
	"SplitShard":               do(splitShard),
	"UpdateMaxRecordSize":      do(updateMaxRecordSize),
	"UpdateShardCount":         do(updateShardCount),

	"UpdateStreamRecordDistributionStrategy": do(updateDistribution),
}

type nothing struct{}

type streamInput struct{ StreamName, StreamARN string }

type createStreamInput struct {
	StreamName string
	ShardCount int
}

func createStream(s *Server, in *createStreamInput, _ *Fault) (nothing, error) {
	if s.streams[in.StreamName] != nil {
		return nothing{}, refuse(inUse, "stream %s exists", in.StreamName)
	}
	s.create(in.StreamName, max(1, in.ShardCount))
	return nothing{}, nil
}

func deleteStream(s *Server, in *streamInput, _ *Fault) (nothing, error) {
	st, err := s.find(in.StreamName, in.StreamARN)
	if err == nil {
		delete(s.streams, st.name)
	}
	return nothing{}, err
}

type listStreamsInput struct {
	Limit                    int
	NextToken                string
	ExclusiveStartStreamName string
}

type listStreamsOutput struct {
	StreamNames    []string
	HasMoreStreams bool
	NextToken      string `json:",omitempty"`
}

func listStreams(s *Server, in *listStreamsInput, _ *Fault) (out listStreamsOutput, err error) {
	out.StreamNames = []string{}
	for name := range s.streams {
		if name > max(in.NextToken, in.ExclusiveStartStreamName) {
			out.StreamNames = append(out.StreamNames, name)
		}
	}
	sort.Strings(out.StreamNames)
	if limit := in.Limit; limit > 0 && limit < len(out.StreamNames) {
		out.StreamNames, out.HasMoreStreams, out.NextToken = out.StreamNames[:limit], true, out.StreamNames[limit-1]
	}
	return out, nil
}

type summary struct {
	StreamName, StreamARN, StreamStatus string
	StreamModeDetails                   struct{ StreamMode string }
	RetentionPeriodHours                int
	StreamCreationTimestamp             float64
	EnhancedMonitoring                  []struct{}
	EncryptionType                      string
	OpenShardCount, ConsumerCount       int
	MaxRecordSizeInKiB                  int
	RecordDistributionStrategy          string `json:",omitempty"` // of on-demand streams
}

type summaryOutput struct{ StreamDescriptionSummary summary }

func describeStreamSummary(s *Server, in *streamInput, _ *Fault) (out summaryOutput, err error) {
	st, err := s.find(in.StreamName, in.StreamARN)
	if err != nil {
		return out, err
	}
	out.StreamDescriptionSummary = summary{StreamName: st.name, StreamARN: st.arn, StreamStatus: "ACTIVE", RetentionPeriodHours: int(st.retention / time.Hour),
		StreamCreationTimestamp: seconds(st.created), EnhancedMonitoring: []struct{}{}, EncryptionType: "NONE", OpenShardCount: len(st.open()), MaxRecordSizeInKiB: st.maxRecord >> 10}
	out.StreamDescriptionSummary.StreamModeDetails.StreamMode = "PROVISIONED"
	if st.scattered {
		out.StreamDescriptionSummary.StreamModeDetails.StreamMode = "ON_DEMAND"
		out.StreamDescriptionSummary.RecordDistributionStrategy = distributedBy
	}
	return out, nil
}

type listShardsInput struct {
	StreamName, StreamARN, NextToken, ExclusiveStartShardId string
	MaxResults                                              int
	ShardFilter                                             *struct {
		Type, ShardId string
		Timestamp     float64
	}
}

type hashKeyRange struct{ StartingHashKey, EndingHashKey string }

type sequenceRange struct {
	StartingSequenceNumber string
	EndingSequenceNumber   string `json:",omitempty"`
}

type shardDescription struct {
	ShardId               string
	ParentShardId         string `json:",omitempty"`
	AdjacentParentShardId string `json:",omitempty"`
	HashKeyRange          hashKeyRange
	SequenceNumberRange   sequenceRange
}

type listShardsOutput struct {
	Shards    []shardDescription
	NextToken string `json:",omitempty"`
}

func (sh *shard) hashKeys() hashKeyRange {
	return hashKeyRange{sh.owns.Start.String(), sh.owns.End.String()}
}

// listShards lists in the order of making. A page's token is stream|number of shards that were listed.
func listShards(s *Server, in *listShardsInput, _ *Fault) (out listShardsOutput, err error) {
	skip := 0
	if in.NextToken != "" {
		if in.StreamName != "" || in.StreamARN != "" {
			return out, refuse(invalidArgument, "a token and a stream exclude each other")
		}
		name, n, ok := cutLast(in.NextToken)
		if skip, err = strconv.Atoi(n); !ok || err != nil {
			return out, refuse(invalidArgument, "no such token")
		}
		in.StreamName = name
	}
	st, err := s.find(in.StreamName, in.StreamARN)
	if err != nil {
		return out, err
	}
	limit := 1000
	if in.MaxResults > 0 {
		limit = min(limit, in.MaxResults)
	}
	out.Shards = []shardDescription{}
	for i, sh := range st.shards[min(skip, len(st.shards)):] {
		if len(out.Shards) == limit {
			out.NextToken = st.name + "|" + strconv.Itoa(skip+i)
			break
		}
		if sh.id <= in.ExclusiveStartShardId {
			continue
		}
		if f := in.ShardFilter; f != nil {
			switch at := moment(f.Timestamp); f.Type {
			case "AFTER_SHARD_ID":
				if sh.id <= f.ShardId {
					continue
				}
			case "AT_LATEST":
				if sh.last != "" {
					continue
				}
			case "AT_TIMESTAMP":
				if sh.created.After(at) || sh.closed(at) {
					continue
				}
			case "FROM_TIMESTAMP":
				if sh.closed(at) {
					continue
				}
			case "AT_TRIM_HORIZON":
				if sh.parent != nil {
					continue
				}
			case "FROM_TRIM_HORIZON":
			default:
				return out, refuse(invalidArgument, "unknown filter %q", f.Type)
			}
		}
		d := shardDescription{ShardId: sh.id, HashKeyRange: sh.hashKeys(), SequenceNumberRange: sequenceRange{sh.first, sh.last}}
		if sh.parent != nil {
			d.ParentShardId = sh.parent.id
		}
		if sh.adjacent != nil {
			d.AdjacentParentShardId = sh.adjacent.id
		}
		out.Shards = append(out.Shards, d)
	}
	return out, nil
}

// closed says that the shard was closed at a time.
func (sh *shard) closed(at time.Time) bool { return sh.last != "" && !sh.children[0].created.After(at) }

func cutLast(s string) (before, after string, ok bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '|' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

type splitShardInput struct{ StreamName, StreamARN, ShardToSplit, NewStartingHashKey string }

func splitShard(s *Server, in *splitShardInput, _ *Fault) (nothing, error) {
	st, err := s.find(in.StreamName, in.StreamARN)
	if err != nil {
		return nothing{}, err
	}
	sh, err := st.shard(in.ShardToSplit)
	if err != nil {
		return nothing{}, err
	}
	at, ok := new(big.Int).SetString(in.NewStartingHashKey, 10)
	if !ok {
		return nothing{}, refuse(invalidArgument, "hash key %q is no number", in.NewStartingHashKey)
	}
	return nothing{}, s.split(st, sh, at)
}

type mergeShardsInput struct{ StreamName, StreamARN, ShardToMerge, AdjacentShardToMerge string }

func mergeShards(s *Server, in *mergeShardsInput, _ *Fault) (nothing, error) {
	st, err := s.find(in.StreamName, in.StreamARN)
	if err != nil {
		return nothing{}, err
	}
	a, err := st.shard(in.ShardToMerge)
	if err != nil {
		return nothing{}, err
	}
	b, err := st.shard(in.AdjacentShardToMerge)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, s.merge(st, a, b)
}

type updateMaxRecordSizeInput struct {
	StreamName, StreamARN string
	MaxRecordSizeInKiB    int
}

func updateMaxRecordSize(s *Server, in *updateMaxRecordSizeInput, _ *Fault) (nothing, error) {
	st, err := s.find(in.StreamName, in.StreamARN)
	if err != nil {
		return nothing{}, err
	}
	if n := in.MaxRecordSizeInKiB; n < 1024 || n > 10240 {
		return nothing{}, refuse(invalidArgument, "%d KiB: 1024 to 10240 are allowed", n)
	}
	st.maxRecord = in.MaxRecordSizeInKiB << 10
	return nothing{}, nil
}

// distributedBy is the strategy by which the service distributes records itself.
const distributedBy = "AUTO"

type updateDistributionInput struct{ StreamARN, RecordDistributionStrategy string }

// updateDistribution makes a stream with the strategy AUTO an on-demand one, too: others cannot have it.
func updateDistribution(s *Server, in *updateDistributionInput, _ *Fault) (nothing, error) {
	st, err := s.find("", in.StreamARN)
	if err != nil {
		return nothing{}, err
	}
	switch in.RecordDistributionStrategy {
	case distributedBy, "USER_PARTITION_KEY":
	default:
		return nothing{}, refuse(validation, "no such strategy: %q", in.RecordDistributionStrategy)
	}
	st.scattered = in.RecordDistributionStrategy == distributedBy
	return nothing{}, nil
}

type updateShardCountInput struct {
	StreamName, StreamARN string
	TargetShardCount      int
	ScalingType           string
}

type updateShardCountOutput struct {
	StreamName, StreamARN               string
	CurrentShardCount, TargetShardCount int
}

// updateShardCount splits the widest shards, or merges the two neighbours that are narrowest together, until the number is
// right.
func updateShardCount(s *Server, in *updateShardCountInput, _ *Fault) (out updateShardCountOutput, err error) {
	st, err := s.find(in.StreamName, in.StreamARN)
	if err != nil {
		return out, err
	}
	if in.TargetShardCount < 1 {
		return out, refuse(invalidArgument, "%d shards: at least 1 is needed", in.TargetShardCount)
	}
	out = updateShardCountOutput{st.name, st.arn, len(st.open()), in.TargetShardCount}
	width := func(a, b *shard) *big.Int {
		x := new(big.Int).SetBytes(b.owns.End[:])
		return x.Sub(x, new(big.Int).SetBytes(a.owns.Start[:]))
	}
	for open := st.open(); len(open) < in.TargetShardCount; open = st.open() {
		widest := open[0]
		for _, sh := range open {
			if width(sh, sh).Cmp(width(widest, widest)) > 0 {
				widest = sh
			}
		}
		middle := width(widest, widest)
		middle.Rsh(middle, 1).Add(middle, new(big.Int).SetBytes(widest.owns.Start[:])).Add(middle, big.NewInt(1))
		if err := s.split(st, widest, middle); err != nil {
			return out, err
		}
	}
	for open := st.open(); len(open) > in.TargetShardCount; open = st.open() {
		least := 0
		for i := range open[1:] {
			if width(open[i], open[i+1]).Cmp(width(open[least], open[least+1])) < 0 {
				least = i
			}
		}
		if err := s.merge(st, open[least], open[least+1]); err != nil {
			return out, err
		}
	}
	return out, nil
}
