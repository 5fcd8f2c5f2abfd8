package window_test

import (
	"fmt"
	"time"

	"github.com/millstream-go/millstream/window"
)

// A day that begins at midnight in Zurich in winter, one hour ahead of UTC.
func ExampleTumbling() {
	day := window.Tumbling{Size: 24 * time.Hour, Offset: -time.Hour}
	at := time.Date(2026, 1, 31, 23, 30, 0, 0, time.UTC)
	start := day.Alignment().Last(at.UnixMilli())
	fmt.Println(time.UnixMilli(start).UTC())
	// Output: 2026-01-31 23:00:00 +0000 UTC
}

// A record is in every window that contains its time.
func ExampleHopping() {
	a := window.Hopping{Size: 10 * time.Second, Advance: 4 * time.Second}.Alignment()
	for start := a.First(9_000); start <= a.Last(9_000); start += a.Advance {
		fmt.Println(window.Span{From: start, To: start + a.Size})
	}
	fmt.Println(window.Hopping{Size: time.Second, Advance: time.Minute}.Check())
	// Output:
	// [1970-01-01T00:00:00Z, 1970-01-01T00:00:10Z)
	// [1970-01-01T00:00:04Z, 1970-01-01T00:00:14Z)
	// [1970-01-01T00:00:08Z, 1970-01-01T00:00:18Z)
	// the Advance is 1m0s, longer than the Size of 1s: records between two windows would be in none
}
