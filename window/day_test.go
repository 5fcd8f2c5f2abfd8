package window_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/window"
)

func zone(t require.TestingT, name string) *time.Location {
	l, err := time.LoadLocation(name)
	require.NoError(t, err)
	return l
}

// day is the calendar day that a time is in.
func day(l *time.Location, at time.Time) (from, to time.Time) {
	a := window.Day{Location: l}.Alignment()
	place := a.First(at.UnixMilli())
	s := a.Span(place)
	return s.Start().In(l), s.End().In(l)
}

func TestDay(t *testing.T) {
	for name, c := range map[string]struct{ zone, at, from, to string }{
		"UTC":                                {"UTC", "2024-05-01T12:00:00Z", "2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z"},
		"the first instant":                  {"UTC", "2024-05-01T00:00:00Z", "2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z"},
		"the last millisecond":               {"UTC", "2024-05-01T23:59:59.999Z", "2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z"},
		"before 1970":                        {"UTC", "1969-12-31T12:00:00Z", "1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"},
		"east":                               {"Asia/Kolkata", "2024-05-01T20:00:00Z", "2024-05-02T00:00:00+05:30", "2024-05-03T00:00:00+05:30"},
		"23 hours":                           {"America/New_York", "2024-03-10T12:00:00-04:00", "2024-03-10T00:00:00-05:00", "2024-03-11T00:00:00-04:00"},
		"25 hours":                           {"America/New_York", "2024-11-03T12:00:00-05:00", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00"},
		"no midnight":                        {"Africa/Cairo", "2024-04-26T12:00:00+03:00", "2024-04-26T01:00:00+03:00", "2024-04-27T00:00:00+03:00"},
		"before there is no midnight":        {"Africa/Cairo", "2024-04-25T23:59:59+02:00", "2024-04-25T00:00:00+02:00", "2024-04-26T01:00:00+03:00"},
		"the hour before midnight twice":     {"America/Sao_Paulo", "2018-02-17T23:30:00-03:00", "2018-02-17T00:00:00-02:00", "2018-02-18T00:00:00-03:00"},
		"the hour after midnight twice":      {"America/Havana", "2024-11-03T00:30:00-05:00", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00"},
		"the day before a date that was not": {"Pacific/Apia", "2011-12-29T12:00:00-10:00", "2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"},
		"and the day after":                  {"Pacific/Apia", "2011-12-31T12:00:00+14:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"},
	} {
		t.Run(name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, c.at)
			require.NoError(t, err)
			from, to := day(zone(t, c.zone), at)
			assert.Equal(t, c.from, from.Format(time.RFC3339))
			assert.Equal(t, c.to, to.Format(time.RFC3339))
		})
	}
}

// Days lie side by side, and all instants of a day have the same one.
func TestDaysAreSideBySide(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu", "America/St_Johns", "Antarctica/Troll"}
	rapid.Check(t, func(t *rapid.T) {
		l := zone(t, rapid.SampledFrom(zones).Draw(t, "zone"))
		a := window.Day{Location: l}.Alignment()
		at := rapid.Int64Range(-2e12, 4e12).Draw(t, "at")
		s := a.Span(a.First(at))
		require.True(t, s.From <= at && at < s.To, "%v is not in %v", at, s)
		inside := rapid.Int64Range(s.From, s.To-1).Draw(t, "inside")
		require.Equal(t, s.From, a.First(inside))
		require.Equal(t, s.From, a.Last(inside))
		require.Equal(t, s.To, a.First(s.To))
		other := window.Day{Location: l}.Alignment() // which has not seen a day yet
		require.Equal(t, s, other.Span(other.First(inside)))
	})
}
