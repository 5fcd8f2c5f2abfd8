package runtime

import (
	"slices"
	"sync"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// batches makes batches for the tasks of this process of what one of them has produced. Lists of records are used again
// when their records have been processed: they are large and full of pointers, and would be most of what there is for
// the garbage collector to do.
type batches struct{ lists sync.Pool }

// lane is what goes to one stream, by partition.
type lane struct {
	stream string
	of     []share
}

// share is how many records a partition gets, and the number of its batch once there is one.
type share struct{ records, batch int }

// of goes through the records twice, so that each batch has room for its own from the start.
func (x *batches) of(recs []sink.Record) []source.Batch {
	var lanes []lane
	count := 0
	for i := range recs {
		s := find(&lanes, &recs[i])
		if s.records == 0 {
			count++
		}
		s.records++
	}
	list := make([]source.Batch, 0, count)
	for i := range recs {
		r := &recs[i]
		s := find(&lanes, r)
		if s.batch == 0 {
			records := x.list(s.records)
			list = append(list, source.Batch{Partition: source.Partition{Stream: r.Stream, Index: r.Partition}, Records: *records,
				Release: func() { x.again(records) }})
			s.batch = len(list)
		}
		b := &list[s.batch-1]
		b.Records = append(b.Records, source.Record{Key: r.Key, Value: r.Value, Headers: r.Headers, Time: r.Time})
		b.Bytes += len(r.Key) + len(r.Value) + 128
	}
	return list
}

func find(lanes *[]lane, r *sink.Record) *share {
	for i := range *lanes {
		l := &(*lanes)[i]
		if l.stream != r.Stream {
			continue
		}
		if int(r.Partition) >= len(l.of) {
			l.of = append(l.of, make([]share, int(r.Partition)+1-len(l.of))...)
		}
		return &l.of[r.Partition]
	}
	*lanes = append(*lanes, lane{r.Stream, make([]share, r.Partition+1)})
	return &(*lanes)[len(*lanes)-1].of[r.Partition]
}

// list is an empty list with room for n records.
func (x *batches) list(n int) *[]source.Record {
	if l, ok := x.lists.Get().(*[]source.Record); ok && cap(*l) >= n {
		return l
	}
	l := slices.Grow([]source.Record(nil), n)
	return &l
}

func (x *batches) again(l *[]source.Record) {
	all := (*l)[:cap(*l)]
	clear(all)
	*l = all[:0]
	x.lists.Put(l)
}
