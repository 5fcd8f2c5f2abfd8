package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

var damagesFlag = flag.Int("damages", 200, "how many times files of a state directory are damaged")

// Files of a state directory are damaged at random while nobody has it open: bits flipped, files cut, swapped, lost, or
// added. Either that is found out, by Open or by whoever reads, or all is there as it was, up to one of the last batches.
func TestDamages(t *testing.T) {
	damages := *damagesFlag
	if testing.Short() {
		damages = min(damages, 100)
	}
	o, good := filled(t)
	opened, found, read, prefix := 0, 0, 0, 0
	kinds := map[string]int{}
	for n := range damages {
		rng := rand.New(rand.NewPCG(uint64(n), 7))
		mem := vfs.NewMem()
		ok, err := vfs.Clone(good, mem, "state", "state")
		require.NoError(t, err)
		require.True(t, ok)
		what := damageFile(t, mem, rng)
		damaged := o
		damaged.FS = mem
		s, err := OpenMem(damaged)
		if err != nil {
			found++
			kinds[what[:4]]++
			continue
		}
		opened++
		last, err := readAll(s)
		switch {
		case errors.Is(err, errTorn):
			require.NoError(t, err, "damage %d: %s: silent", n, what)
		case err != nil:
			read++
			require.ErrorIs(t, err, ErrDamaged, "damage %d: %s", n, what)
			kinds[what[:4]]++
		case last < 100:
			prefix++
		}
		_ = s.Close() // of a store that has met damage it is an error
	}
	t.Logf("%d damages: %d found when opened, %d when read, %d lost the last batches, %d changed nothing; found by kind: %v", damages, found, read, prefix, opened-read-prefix, kinds)
	require.Greater(t, found, damages/4)
	require.Len(t, kinds, 5, "each kind of damage is found at least once")
}

// damageFile damages one file, and says what it did.
func damageFile(t *testing.T, mem *vfs.MemFS, rng *rand.Rand) string {
	var names []string
	for _, dir := range []string{"state", "state/db"} {
		list, err := mem.List(dir)
		require.NoError(t, err)
		for _, name := range list {
			path := dir + "/" + name
			if info, err := mem.Stat(path); err == nil && !info.IsDir() && name != "LOCK" {
				names = append(names, path)
			}
		}
	}
	slices.Sort(names)
	name := names[rng.IntN(len(names))]
	content, err := readFile(mem, name)
	require.NoError(t, err)
	content = slices.Clone(content)
	switch kind := rng.IntN(5); {
	case kind == 0 && len(content) > 0:
		i := rng.IntN(8 * len(content))
		content[i/8] ^= 1 << (i % 8)
		overwrite(t, mem, name, content)
		return fmt.Sprintf("flip bit %d of %s", i, name)
	case kind == 1 && len(content) > 0:
		n := rng.IntN(len(content))
		overwrite(t, mem, name, content[:n])
		return fmt.Sprintf("cut %s to %d bytes", name, n)
	case kind == 2:
		other := names[rng.IntN(len(names))]
		theirs, err := readFile(mem, other)
		require.NoError(t, err)
		theirs = slices.Clone(theirs)
		overwrite(t, mem, name, theirs)
		overwrite(t, mem, other, content)
		return fmt.Sprintf("swap %s and %s", name, other)
	case kind == 3:
		require.NoError(t, mem.Remove(name))
		return "lose " + name
	default: // another file of that kind
		other := names[rng.IntN(len(names))]
		dir, base := mem.PathDir(other), mem.PathBase(other)
		digits := []byte(base)
		for i, c := range digits {
			if c >= '0' && c <= '9' {
				digits[i] = '0' + byte(rng.IntN(10))
			}
		}
		if string(digits) == base {
			digits = append(digits, 'x')
		}
		overwrite(t, mem, dir+"/"+string(digits), content)
		return fmt.Sprintf("adds %s with the bytes of %s", string(digits), name)
	}
}

var errTorn = errors.New("state is neither damaged nor right")

// readAll reads everything, and returns how many batches there are.
func readAll(s *Store) (n uint64, err error) {
	v, found, err := s.View(9).Get([]byte("counter"), nil)
	if err != nil {
		return 0, err
	}
	if found {
		n = binary.BigEndian.Uint64(v)
	}
	var keys uint64
	for p := range int32(3) {
		if err := s.View(p).Scan(nil, nil, func(k, v []byte) error {
			i := binary.BigEndian.Uint64(k)
			keys++
			if i < 1 || i > n || !bytes.Equal(v, bytes.Repeat([]byte{byte(i)}, workloadValue)) {
				return fmt.Errorf("batch %d of %d: %w", i, n, errTorn)
			}
			return nil
		}); err != nil {
			return n, err
		}
	}
	if keys != n {
		return n, fmt.Errorf("%d batches, and the last is %d: %w", keys, n, errTorn)
	}
	return n, nil
}
