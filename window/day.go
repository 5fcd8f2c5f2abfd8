package window

import (
	"errors"
	"sort"
	"time"
)

// Day windows are calendar days in a time zone: from the first instant of a date to the first instant of the next, 23,
// 24 or 25 hours where clocks change. The rules of time zones come from the program's time zone database; a newer one
// may move the days to come.
type Day struct {
	Location *time.Location
	Grace    time.Duration // see Tumbling
}

// Alignment implements Aligned.
func (w Day) Alignment() Alignment {
	return Alignment{Advance: 1, Grace: w.Grace.Milliseconds(), days: &days{zone: w.Location}}
}

// Check implements Window.
func (w Day) Check() error {
	var zone error
	if w.Location == nil {
		zone = errors.New("the Location is nil: name a time zone, such as time.UTC or one from time.LoadLocation")
	}
	return errors.Join(zone, notNegative("Grace", w.Grace))
}

func (w Day) String() string {
	if w.Location == nil {
		return "day"
	}
	return "day " + w.Location.String()
}

// days finds calendar days. It remembers the last one.
type days struct {
	zone     *time.Location
	from, to int64
}

// at returns the day that t is in.
func (d *days) at(t int64) (from, to int64) {
	if d.from <= t && t < d.to {
		return d.from, d.to
	}
	year, month, day := time.UnixMilli(t).In(d.zone).Date()
	from, to = d.start(year, month, day), d.start(year, month, day+1)
	for ; t >= to; day++ { // where a zone has turned back its clocks across midnight
		from, to = to, d.start(year, month, day+2)
	}
	for ; t < from; day-- {
		from, to = d.start(year, month, day-1), from
	}
	d.from, d.to = from, to
	return from, to
}

// start is the first millisecond of a date: midnight, or what the clock is set to at midnight.
func (d *days) start(year int, month time.Month, day int) int64 {
	date := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	const most = 16 * 3600 * 1000 // more than any zone's offset from UTC
	lo := date.UnixMilli() - most
	return lo + int64(sort.Search(2*most, func(ms int) bool {
		y, m, dd := time.UnixMilli(lo + int64(ms)).In(d.zone).Date()
		return !time.Date(y, m, dd, 0, 0, 0, 0, time.UTC).Before(date)
	}))
}
