// Package lease shares the shards of Kinesis streams among the instances of an application, by leases in a DynamoDB table that
// the Kinesis Client Library (KCL) 3.5 reads and writes too, and version 2 understands: instances of both may run side by
// side, and hand shards to each other.
//
// One table belongs to one stream, unless it is shared (shared.go). Each shard has a row: who has it, how far it was processed, and a counter. Its holder
// raises the counter within a third of the time of failover; a lease whose counter stands still for that time has expired
// (expiry.go). Every write of a lease says what owner and counter it expects, so an instance that lost a lease without
// knowing it, because it was frozen or cut off, changes nothing any more (edit.go). An answer that is lost is not guessed
// at: the row is read again (table.go).
//
// One instance leads. It alone reads the whole table: it makes and deletes leases as the stream's shards come and go
// (reconcile.go), gives away leases that are free or expired, and evens out the load by asking holders to hand leases
// over (assign.go). Leading is itself a row with a counter; two leaders at a time do no harm, since every write has its
// condition. The others look in an index what was assigned to them. These decisions are functions of what was read; the loop around
// them is in group.go.
package lease

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/source"
)

// Start is where shards are begun that the stream has when its table is new; the value is what the table says. Shards that
// come later are always read from their beginning.
type Start string

// The starts, of the source's words (source.StartAt).
const (
	TrimHorizon Start = trimHorizon // the oldest record that there is
	Latest      Start = "LATEST"
	AtTimestamp Start = "AT_TIMESTAMP" // a time that the source knows
)

var words = map[source.Start]Start{source.Earliest: TrimHorizon, source.Latest: Latest, source.StartTime: AtTimestamp}

// Table is where leases are kept: kinesis.Leases in DynamoDB. It makes its tables, one for each stream, billed by request.
type Table struct {
	// Client speaks to DynamoDB. Its retries do no harm.
	Client *dynamodb.Client

	// Name is the name of a stream's table; nil: "<application>-<stream>". The KCL's table is named as its application.
	Name func(app, stream string) string

	// Shared keeps the leases of several applications, and of several streams of each, in the table that Name says: the
	// keys of rows begin with the application and the stream, and nobody sees or touches those of others. Instances of one application must
	// agree on it. The Kinesis Client Library cannot take part, and must not use the table.
	Shared bool

	// Start is the sources', by default; another one is an error when the application runs.
	Start Start

	// Failover is how long a lease whose holder is silent stays with it; default 10 s. The KCL's failoverTimeMillis must be the
	// same where both share a table. Its length does not endanger anything but the patience of readers: a short one moves
	// shards when an instance or DynamoDB is slow.
	Failover time.Duration

	// HandOver is how long a holder that was asked for a lease may take to finish; default 30 s. Then it loses it.
	HandOver time.Duration

	// CPU says how busy the processors that this instance may use have been lately, in percent, if that is known; nil: how busy the process
	// keeps them, where the system tells (Linux, macOS, FreeBSD). It is asked once in the time of failover for each stream. Instances
	// that need more for the same load than others are given less. Beside workers of the KCL that measure nothing of the kind, let
	// it say that it is not known: one of them that leads may give less to instances that tell than to those that do not.
	CPU func() (percent float64, known bool)

	// OnAlarm is told of what a person has to know of; nil: it is logged only. It must not block.
	OnAlarm func(Alarm)
}

var _ kinesis.Leases = Table{}

// Check returns what is wrong with the configuration.
func (t Table) Check() error {
	switch {
	case t.Client == nil:
		return errors.New("lease: Table.Client is missing")
	case t.Shared && t.Name == nil:
		return errors.New("lease: Table.Shared is set, and Table.Name does not say which table is shared")
	case t.Start != "" && t.Start != TrimHorizon && t.Start != Latest && t.Start != AtTimestamp:
		return fmt.Errorf("lease: Table.Start is %q: TrimHorizon, Latest or AtTimestamp is expected", t.Start)
	case t.Failover != 0 && t.Failover < time.Second:
		return fmt.Errorf("lease: Table.Failover is %v: at least a second is needed", t.Failover)
	case t.HandOver < 0:
		return fmt.Errorf("lease: Table.HandOver is %v", t.HandOver)
	}
	return nil
}

var refused = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// tableName is the default name. Of an ARN the last part counts.
func tableName(app, stream string) string {
	return refused.ReplaceAllString(app+"-"+lastPart(stream), "_")
}

func lastPart(stream string) string { return stream[strings.LastIndex(stream, "/")+1:] }

// Join implements kinesis.Leases. The instance is known to the others by its name and the start of its process, so that what a
// former process still writes is not taken for its own.
func (t Table) Join(ctx context.Context, m kinesis.Member) (kinesis.Membership, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	for stream, s := range m.Starts {
		if t.Start != "" && t.Start != words[s] {
			return nil, fmt.Errorf("lease: Table.Start is %q, and the source %s says %q: leave Table.Start out: %w", t.Start, stream, words[s], connect.ErrStop)
		}
	}
	if t.Failover == 0 {
		t.Failover = 10 * time.Second
	}
	if t.HandOver == 0 {
		t.HandOver = 30 * time.Second
	}
	if t.Name == nil {
		t.Name = tableName
	}
	return join(ctx, t, m), nil
}
