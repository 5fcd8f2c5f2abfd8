package lease

import (
	"maps"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Instances tell how busy their processors are, as the Kinesis Client Library's do, and the leader gives less to those that are clearly
// busier than the others: slower machines, or such that have other things to do. A load then counts for more with them (their
// cost), up to twice.
//
// Assignments must not swing: with fewer leases the instance is not busy any more, and that is no reason to give it more. So a cost only
// rises, a step at a time, while the instance is clearly busier. It is forgotten when instances come or go, when another one leads,
// or when for long it has been high and the instance is clearly less busy than the others. Measures are looked at only when no lease has
// moved for as long as they reach back, since until then they belong to other leases.

const (
	statCPU   = "C" // the library's name of the measure
	statsKept = 10  // measures in a row; the library keeps as many
	fullCPU   = 100 // percent; up to which the library may load an instance

	recent   = 4 // measures that count
	fewStats = 3 // fewer say nothing

	clearly  = 20.0 // percent above or below the mean of the others
	costStep = 1.25
	mostCost = 2 // whoever has a lease then does not lose the last one, unless it has more than another

	forgotten = time.Hour // after it rose last
)

// settles is how long no lease may have moved before measures are looked at: all that count are of that time. The library
// measures every thirty seconds.
func (l *leader) settles() time.Duration { return recent * max(l.Failover, 30*time.Second) }

// meter measures the processor's load of this process.
type meter struct {
	at   time.Time
	used time.Duration
}

// percent is the load since the last call, of all the processors that the process may use, which the limits of a container count for.
// It is not known the first time, nor where the system does not tell.
func (m *meter) percent() (float64, bool) {
	used, ok := processTime()
	now := time.Now()
	before := *m
	*m = meter{now, used}
	if passed := now.Sub(before.at); ok && !before.at.IsZero() && passed > 0 {
		return min(100*(used-before.used).Seconds()/passed.Seconds()/float64(runtime.GOMAXPROCS(0)), 100), true
	}
	return 0, false
}

// stats are the measures as a row has them, and the limits beside.
func stats(percent []float64) (measures, limits item) {
	if len(percent) == 0 {
		return item{}, item{}
	}
	list := make([]types.AttributeValue, len(percent))
	for i, p := range percent {
		list[i] = &types.AttributeValueMemberN{Value: strconv.FormatFloat(p, 'f', 2, 64)}
	}
	return item{statCPU: &types.AttributeValueMemberL{Value: list}}, item{statCPU: &types.AttributeValueMemberL{Value: []types.AttributeValue{integer(fullCPU)}}}
}

// cpuOf is the mean of an instance's last measures. The library writes -1 where it could not measure.
func cpuOf(it item) (percent float64, known bool) {
	m, ok := it[attrStats].(*types.AttributeValueMemberM)
	if !ok {
		return 0, false
	}
	list, ok := m.Value[statCPU].(*types.AttributeValueMemberL)
	if !ok {
		return 0, false
	}
	n := 0
	for _, v := range list.Value[max(len(list.Value)-recent, 0):] {
		if v, ok := v.(*types.AttributeValueMemberN); ok {
			if p, err := strconv.ParseFloat(v.Value, 64); err == nil && p >= 0 {
				percent += p
				n++
			}
		}
	}
	return percent / max(float64(n), 1), n >= fewStats
}

// cost is what a load counts for with an instance, and since when.
type cost struct {
	factor float64
	since  time.Time
}

// costs are those of instances with which loads count for more, after another look at how busy all are. Before are those of the last time.
func costs(cpu map[string]float64, before map[string]cost, now time.Time) map[string]cost {
	sum := 0.0
	for _, w := range slices.Sorted(maps.Keys(cpu)) {
		sum += cpu[w]
	}
	after := map[string]cost{}
	maps.Copy(after, before)
	for w, percent := range cpu {
		others := (sum - percent) / float64(len(cpu)-1)
		c, known := before[w]
		switch {
		case percent > others+clearly:
			if f := min(max(c.factor, 1)*costStep, mostCost); f > c.factor {
				after[w] = cost{f, now}
			}
		case known && percent < others-clearly && now.Sub(c.since) >= forgotten:
			delete(after, w)
		}
	}
	return after
}

// weigh looks at how busy instances are, when no lease has moved for long enough.
func (l *leader) weigh(leases []candidate, cpu map[string]float64, now time.Time) {
	has := map[string]string{}
	for _, c := range leases {
		has[c.key] = c.has()
	}
	if !maps.Equal(has, l.has) {
		l.has, l.moved = has, now
	}
	if !slices.Equal(slices.Sorted(maps.Keys(cpu)), l.telling) {
		l.telling, l.moved = slices.Sorted(maps.Keys(cpu)), now
		clear(l.cost)
	}
	if len(cpu) > 1 && now.Sub(l.moved) >= l.settles() {
		l.cost, l.moved = costs(cpu, l.cost, now), now
	}
}
