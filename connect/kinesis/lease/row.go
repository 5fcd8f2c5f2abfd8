package lease

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

// The attributes of a lease's row. Names and types are those of the Kinesis Client Library 3.5.
const (
	attrKey         = "leaseKey"   // S; a shard's id
	attrEntity      = "entityType" // S; absent in tables of version 2 and of 3.0 to 3.4, where all rows are leases
	attrOwner       = "leaseOwner" // S; absent: nobody
	attrHolder      = "checkpointOwner"
	attrCounter     = "leaseCounter"                 // N; raised by every write of an owner, and with every new owner
	attrSwitches    = "ownerSwitchesSinceCheckpoint" // N
	attrCheckpoint  = "checkpoint"                   // S; a sequence number, TRIM_HORIZON, LATEST, AT_TIMESTAMP or SHARD_END
	attrSub         = "checkpointSubSequenceNumber"  // N
	attrPending     = "pendingCheckpoint"
	attrPendingSub  = "pendingCheckpointSubSequenceNumber"
	attrPendingData = "pendingCheckpointState"
	attrParents     = "parentShardId"       // SS
	attrChildren    = "childShardIds"       // SS
	attrStart       = "startingHashKey"     // S; a decimal number
	attrEnd         = "endingHashKey"       // S
	attrLoad        = "throughputKBps"      // N
	attrSince       = "checkpointTimestamp" // N; milliseconds, with AT_TIMESTAMP; ours alone

	index = "LeaseOwnerToLeaseKeyIndex"

	entityLease  = "LEASE"
	entityLeader = "LEADER"
	entityWorker = "WORKER_METRIC_STATS"

	shardEnd    = "SHARD_END"
	trimHorizon = "TRIM_HORIZON"
)

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func integer(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// row is a lease.
type row struct {
	key string
	// owner is who the lease is assigned to. While it is handed over, holder is who still has it, until it has finished and
	// written its last checkpoint; otherwise holder is empty.
	owner, holder string
	counter       int64
	switches      int64
	checkpoint    string // of the last record that was processed, or a word
	sub           int64
	since         int64 // of AT_TIMESTAMP
	parents       []string
	children      []string
	hashes        *kpl.Range
	load          float64 // KiB a second
}

// has is who may read the shard and write checkpoints: "" is nobody.
func (r row) has() string { return cmp.Or(r.holder, r.owner) }

func (r row) ended() bool { return r.checkpoint == shardEnd }

// begun says that something of the shard has been processed.
func (r row) begun() bool {
	return r.checkpoint != "" && r.checkpoint != trimHorizon && r.checkpoint != string(Latest) && r.checkpoint != string(AtTimestamp)
}

// item is the row of a new lease.
func (r row) item() item {
	it := item{attrKey: text(r.key), attrEntity: text(entityLease), attrCounter: integer(r.counter), attrSwitches: integer(r.switches),
		attrCheckpoint: text(r.checkpoint), attrSub: integer(r.sub)}
	if r.owner != "" {
		it[attrOwner] = text(r.owner)
	}
	if len(r.parents) > 0 {
		it[attrParents] = &types.AttributeValueMemberSS{Value: r.parents}
	}
	if len(r.children) > 0 {
		it[attrChildren] = &types.AttributeValueMemberSS{Value: r.children}
	}
	if r.hashes != nil {
		it[attrStart], it[attrEnd] = text(r.hashes.Start.String()), text(r.hashes.End.String())
	}
	return it
}

// entity is what kind of thing a row describes: a lease, if it does not say.
func entity(it item) string {
	if s, ok := it[attrEntity].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return entityLease
}

// decoder reads attributes and keeps the first error.
type decoder struct {
	item item
	err  error
}

func (d *decoder) wrong(name, want string) {
	if d.err == nil {
		d.err = fmt.Errorf("attribute %s is a %T where %s is expected", name, d.item[name], want)
	}
}

func (d *decoder) text(name string) string {
	switch v := d.item[name].(type) {
	case nil:
	case *types.AttributeValueMemberS:
		return v.Value
	default:
		d.wrong(name, "a string")
	}
	return ""
}

func (d *decoder) float(name string) float64 {
	switch v := d.item[name].(type) {
	case nil:
	case *types.AttributeValueMemberN:
		f, err := strconv.ParseFloat(v.Value, 64)
		if err == nil {
			return f
		}
		d.wrong(name, "a number")
	default:
		d.wrong(name, "a number")
	}
	return 0
}

func (d *decoder) integer(name string) int64 {
	switch v := d.item[name].(type) {
	case nil:
	case *types.AttributeValueMemberN:
		n, err := strconv.ParseInt(v.Value, 10, 64)
		if err == nil {
			return n
		}
		d.wrong(name, "an integer")
	default:
		d.wrong(name, "an integer")
	}
	return 0
}

func (d *decoder) set(name string) []string {
	switch v := d.item[name].(type) {
	case nil:
	case *types.AttributeValueMemberSS:
		s := slices.Clone(v.Value)
		slices.Sort(s)
		return s
	default:
		d.wrong(name, "a set of strings")
	}
	return nil
}

// decode reads the row of a lease.
func decode(it item) (row, error) {
	d := &decoder{item: it}
	r := row{key: d.text(attrKey), owner: d.text(attrOwner), holder: d.text(attrHolder), counter: d.integer(attrCounter), switches: d.integer(attrSwitches),
		checkpoint: d.text(attrCheckpoint), sub: d.integer(attrSub), since: d.integer(attrSince), parents: d.set(attrParents), children: d.set(attrChildren), load: d.float(attrLoad)}
	if start, end := d.text(attrStart), d.text(attrEnd); start != "" && end != "" && d.err == nil {
		a, err1 := kpl.ParseHash(start)
		b, err2 := kpl.ParseHash(end)
		if d.err = cmp.Or(err1, err2); d.err == nil {
			r.hashes = &kpl.Range{Start: a, End: b}
		}
	}
	if d.err != nil {
		return r, fmt.Errorf("row %q of the lease table: %w", r.key, d.err)
	}
	return r, nil
}
