package operator

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Slots with hashes that collide, in all bits or in the lowest only, are found until they are removed, and no others.
func TestIndexAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		model := map[uint32]uint64{} // hashes by slots
		next := uint32(0)
		hash := func(t *rapid.T) uint64 {
			return rapid.Uint64Range(0, 3).Draw(t, "high")<<29 | rapid.SampledFrom([]uint64{0, 1, 2, 5, 6, 7, 14, 15}).Draw(t, "low")
		}
		slots := func(h uint64) (list []uint32) {
			for p := x.probe(h); ; {
				slot, ok := x.next(&p)
				if !ok {
					return list
				}
				list = append(list, slot)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				h := hash(t)
				x.add(h, next)
				model[next] = h
				next++
			},
			"remove": func(t *rapid.T) {
				h := hash(t)
				p := x.probe(h)
				slot, ok := x.next(&p)
				for range rapid.IntRange(0, 2).Draw(t, "further") {
					q := p
					if s, more := x.next(&q); more {
						p, slot = q, s
					}
				}
				if !ok {
					t.Skip("there is none")
				}
				require.Equal(t, slot, x.remove(p))
				require.Equal(t, h, model[slot])
				delete(model, slot)
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(model), x.used)
				found := 0
				for _, h := range model {
					require.NotEmpty(t, slots(h))
				}
				for high := range uint64(4) {
					for low := range uint64(16) {
						h := high<<29 | low
						for _, slot := range slots(h) {
							require.Equal(t, h, model[slot])
							found++
						}
					}
				}
				require.Equal(t, len(model), found)
			},
		})
	})
}

// each visits every entry once, also when it removes those it is given.
func TestEachRemoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newTable[int, int](true)
		n := rapid.IntRange(0, 200).Draw(t, "entries")
		for k := range n {
			table.insert(k)
		}
		odd := rapid.IntRange(1, 5).Draw(t, "every")
		seen := map[int]bool{}
		table.each(func(e *entry[int, int]) {
			require.False(t, seen[e.key], "%d is visited twice", e.key)
			seen[e.key] = true
			if e.key%odd == 0 {
				table.remove(e)
			}
		})
		require.Len(t, seen, n)
		for k := range n {
			require.Equal(t, k%odd != 0, table.peek(k) != nil)
		}
	})
}
