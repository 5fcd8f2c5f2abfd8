package lease

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millstream-go/millstream/connect/kinesis"
)

// The rows beside leases: who leads, and each instance's. Names and types are those of the Kinesis Client Library 3.5.
const (
	leaderKey      = "Leader"
	attrLeaderName = "ownerName"           // S
	attrDuration   = "leaseDuration"       // S; milliseconds
	attrVersion    = "recordVersionNumber" // S; another one with every sign of life

	attrUpdated        = "lut" // N; seconds since the epoch
	attrSupport        = "sup" // N; that rows of several kinds share the table is understood
	attrSupportUpdated = "slu" // N
	attrStats          = "sts" // M; lists of measures, by name. Without any, load is the leases' throughput
	attrLimits         = "opr" // M; lists of one limit
	supportCode        = 1
)

// reported is how long an instance counts as alive after its row has changed. The library writes every 30 seconds. One that
// lets a lease expire does not count from then on, until it writes again.
const reported = 65 * time.Second

// leader is what an instance does for all, if it leads, and for itself, to be known to the leader. Only the group's loop uses
// it.
type leader struct {
	*group
	version  string // of the leader's row, if this instance leads
	election watch
	rows     watch // leases, by owner and counter
	handed   watch // leases that are being handed over
	workers  watch
	renewals map[string]renewal // leases that are to be read
	suspects map[string]string  // instances that have let a lease expire: their row as it was
	missing  map[string]int
	compared int       // the last list of shards that was compared with the table
	wrote    time.Time // this instance's row
	broken   map[string]bool

	meter   meter
	percent []float64 // the last measures of this instance's processors
	cost    map[string]cost
	telling []string          // instances that tell how busy they are
	has     map[string]string // who had which lease
	moved   time.Time         // when one of these has changed, or costs were looked at
}

func newLeader(g *group) *leader {
	return &leader{group: g, election: watch{}, rows: watch{}, handed: watch{}, workers: watch{}, suspects: map[string]string{}, missing: map[string]int{}, broken: map[string]bool{}, cost: map[string]cost{}}
}

// round tells of this instance and, if it leads, assigns. It returns what it has assigned to this instance.
func (l *leader) round(ctx context.Context) (mine []string, err error) {
	reported := l.report(ctx)
	leads, err := l.elect(ctx)
	if err == nil && leads {
		mine, err = l.lead(ctx)
	} else {
		l.setUnread(0) // the leader's affair
	}
	return mine, errors.Join(reported, err)
}

// report writes this instance's row.
func (l *leader) report(ctx context.Context) error {
	now := time.Now()
	if now.Sub(l.wrote) < l.Failover {
		return nil
	}
	busy := l.CPU
	if busy == nil {
		busy = l.meter.percent
	}
	if p, known := busy(); known {
		l.percent = append(l.percent, p)
		l.percent = l.percent[max(len(l.percent)-statsKept, 0):]
	}
	measures, limits := stats(l.percent)
	err := l.table.replace(ctx, item{attrKey: text(l.me), attrEntity: text(entityWorker), attrUpdated: integer(now.Unix()), attrSupport: integer(supportCode),
		attrSupportUpdated: integer(now.Unix()), attrStats: &types.AttributeValueMemberM{Value: measures}, attrLimits: &types.AttributeValueMemberM{Value: limits}})
	if err == nil {
		l.wrote = now
	}
	return err
}

// elect says whether this instance leads. A leader that gives no sign of life for the time that its row says is followed by
// whoever notices first.
func (l *leader) elect(ctx context.Context) (bool, error) {
	it, err := l.table.get(ctx, leaderKey)
	if err != nil {
		return false, err
	}
	next := rand.Text()
	if it == nil {
		l.version = ""
		err := l.table.insert(ctx, item{attrKey: text(leaderKey), attrEntity: text(entityLeader), attrLeaderName: text(l.me), attrDuration: text(strconv.FormatInt(l.Failover.Milliseconds(), 10)), attrVersion: text(next)})
		if err != nil {
			return false, err
		}
		if it, err = l.table.get(ctx, leaderKey); err != nil || it == nil {
			return false, err
		}
	}
	d := &decoder{item: it}
	name, version := d.text(attrLeaderName), d.text(attrVersion)
	if d.err != nil {
		return false, l.table.wrap("row of the leader", d.err)
	}
	lasts, err := strconv.ParseInt(d.text(attrDuration), 10, 64)
	if err != nil {
		lasts = l.Failover.Milliseconds()
	}
	now := time.Now()
	l.election.observe(map[string]string{leaderKey: version}, now)
	if name != l.me && l.election.unchanged(leaderKey, now) < time.Duration(lasts)*time.Millisecond {
		l.version = ""
		return false, nil
	}
	e := &edit{}
	e.put(attrLeaderName, text(l.me))
	e.put(attrDuration, text(strconv.FormatInt(l.Failover.Milliseconds(), 10)))
	e.put(attrVersion, text(next))
	e.require(e.is(attrVersion, text(version)))
	if _, err := l.table.apply(ctx, leaderKey, e); err != nil {
		if errors.Is(err, errMissed) {
			err = nil
		}
		return false, err
	}
	if l.version == "" { // what was seen in former times of leading is not what was seen without interruption
		clear(l.rows)
		clear(l.handed)
		clear(l.workers)
		clear(l.suspects)
		clear(l.missing)
		clear(l.renewals)
		l.cost, l.has, l.telling = map[string]cost{}, nil, nil
	}
	l.version = next
	return true, nil
}

// leases decodes the rows that are leases.
func (l *leader) leases(items []item) map[string]row {
	rows := map[string]row{}
	for _, it := range items {
		if entity(it) != entityLease {
			continue
		}
		r, err := decode(it)
		if err != nil {
			if !l.broken[r.key] {
				l.broken[r.key] = true
				l.alarm(Alarm{Kind: Broken, Shard: r.key, Detail: err.Error()})
			}
			r.checkpoint = cmp.Or(r.checkpoint, shardEnd) // it is somebody's; nobody is to be given it, and no new one be made
		}
		rows[r.key] = r
	}
	return rows
}

// lead looks at the whole table and does what is to be done.
func (l *leader) lead(ctx context.Context) (mine []string, err error) {
	items, err := l.table.scan(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	rows := l.leases(items)
	live, cpu := l.alive(items, now)
	l.mu.Lock()
	shards, news := l.listed, l.lists != l.compared
	l.compared = l.lists
	l.mu.Unlock()

	p := reconcile(shards, news, rows, l.start, l.missing)
	for _, a := range p.alarms {
		l.alarm(a)
	}
	err = each(p.create, func(r row) error { return l.table.insert(ctx, r.item()) })
	err = errors.Join(err, each(p.drop, func(r row) error {
		e := as(r)
		e.require(e.is(attrCounter, integer(r.counter)), e.is(attrCheckpoint, text(r.checkpoint)))
		return l.table.remove(ctx, r.key, e)
	}))
	for _, r := range p.drop {
		delete(rows, r.key)
	}
	for _, r := range p.create {
		if _, ok := rows[r.key]; !ok {
			rows[r.key] = r
		}
	}

	candidates := l.candidates(rows, shards, now)
	for w := range l.suspects {
		delete(live, w)
		delete(cpu, w)
	}
	live[l.me] = true
	l.weigh(candidates, cpu, now)
	var names []string
	for w := range live {
		names = append(names, w)
	}
	l.watchHolders(candidates, now)
	moves := assign(candidates, names, l.cost)
	for _, m := range moves {
		if m.to == l.me && !m.asked {
			mine = append(mine, m.key)
		}
	}
	var mu sync.Mutex
	return mine, errors.Join(err, each(moves, func(m move) error {
		e := assigned(m.row, m.to)
		if m.asked {
			e = asked(m.row, m.to)
		}
		l.logger.Debug("a lease is assigned", "stream", l.stream, "shard", m.key, "from", m.has(), "to", m.to, "asked", m.asked)
		after, err := l.table.apply(ctx, m.key, e)
		switch {
		case errors.Is(err, errMissed):
			return nil
		case err == nil: // what was written here is no sign of the holder's
			mu.Lock()
			defer mu.Unlock()
			n := l.renewals[m.key]
			n.has, n.counter = after.has(), after.counter
			l.renewals[m.key] = n
		}
		return err
	}))
}

// alive are the instances that give signs of life, whichever program they are of, and how busy the processors are of those that tell.
// Rows of those that have given no sign for long are deleted.
func (l *leader) alive(items []item, now time.Time) (live map[string]bool, cpu map[string]float64) {
	found := map[string]string{}
	busy := map[string]float64{}
	for _, it := range items {
		if entity(it) != entityWorker {
			continue
		}
		d := &decoder{item: it}
		name, updated := d.text(attrKey), d.integer(attrUpdated)
		if d.err == nil {
			found[name] = strconv.FormatInt(updated, 10)
			if p, known := cpuOf(it); known {
				busy[name] = p
			}
		}
	}
	l.workers.observe(found, now)
	live, cpu = map[string]bool{}, map[string]float64{}
	for name, what := range found {
		if at, ok := l.suspects[name]; ok && at != what {
			delete(l.suspects, name)
		}
		switch silent := l.workers.unchanged(name, now); {
		case silent < reported:
			live[name] = true
			if p, known := busy[name]; known {
				cpu[name] = p
			}
		case silent > 10*reported:
			e := &edit{}
			n, _ := strconv.ParseInt(what, 10, 64)
			e.require(e.is(attrUpdated, integer(n)))
			if err := l.table.remove(l.ctx, name, e); err != nil {
				l.logger.Debug("could not delete the row of an instance that has gone", "instance", name, "error", err)
			}
		}
	}
	for name := range l.suspects {
		if _, ok := found[name]; !ok {
			delete(l.suspects, name)
		}
	}
	return live, cpu
}

// candidates are the leases that can be read, with what was seen of their holders.
func (l *leader) candidates(rows map[string]row, shards []kinesis.Shard, now time.Time) (list []candidate) {
	counters, handed := map[string]string{}, map[string]string{}
	for key, r := range rows {
		counters[key] = r.has() + " " + strconv.FormatInt(r.counter, 10)
		if r.holder != "" {
			handed[key] = r.holder + " " + r.owner
		}
	}
	l.rows.observe(counters, now)
	l.handed.observe(handed, now)
	for key, r := range rows {
		if r.ended() || !ready(r, rows, shards) {
			continue
		}
		expired := r.has() != "" && l.rows.unchanged(key, now) >= l.Failover
		late := r.holder != "" && l.handed.unchanged(key, now) >= l.HandOver
		if expired && r.has() != l.me {
			l.suspects[r.has()] = l.workers[r.has()].what
		}
		list = append(list, candidate{row: r, free: r.has() == "" || expired || late, moving: r.holder != ""})
	}
	return list
}

// leave deletes this instance's rows, so that others need not wait for it.
func (l *leader) leave(ctx context.Context) error {
	err := l.table.remove(ctx, l.me, &edit{})
	if l.version != "" {
		e := &edit{}
		e.require(e.is(attrVersion, text(l.version)))
		err = errors.Join(err, l.table.remove(ctx, leaderKey, e))
	}
	return err
}

func compareShards(a, b kinesis.ShardID) int {
	return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Shard, b.Shard))
}
