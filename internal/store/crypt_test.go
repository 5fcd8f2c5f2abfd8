package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testKey(n byte) []byte { return bytes.Repeat([]byte{n}, keyLen) }

// everything returns all files below a directory.
func everything(t *testing.T, fs vfs.FS, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	names, err := fs.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // the database goes on deleting what it does not need
		}
		require.NoError(t, err)
		if info.IsDir() {
			for k, v := range everything(t, fs, path) {
				all[k] = v
			}
			continue
		}
		b, err := readFile(fs, path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		all[path] = b
	}
	return all
}

// encryptedWith checks that every file has that key, and that no file shows what is in it.
func encryptedWith(t *testing.T, fs vfs.FS, dir string, key []byte, secret string) {
	t.Helper()
	id := idOf(key)
	for name, b := range everything(t, fs, dir) {
		if strings.HasSuffix(name, "LOCK") {
			continue
		}
		require.True(t, bytes.HasPrefix(b, append([]byte(cryptMagic), id[:]...)), name)
		require.NotContains(t, string(b), secret, name)
		require.NotContains(t, string(b), "an-app", name)
	}
}

func writeSecrets(t *testing.T, s *Store, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		b := s.NewBatch()
		b.Set(1, fmt.Appendf(nil, "key %05d", i), []byte(strings.Repeat("a secret ", 50)))
		require.NoError(t, b.Commit(i%10 == 0))
	}
}

func countSecrets(t *testing.T, s *Store) (n int) {
	t.Helper()
	require.NoError(t, s.View(1).Scan(nil, nil, func(k, v []byte) error {
		require.Equal(t, fmt.Sprintf("key %05d", n), string(k))
		require.Equal(t, strings.Repeat("a secret ", 50), string(v))
		n++
		return nil
	}))
	return n
}

// State that is encrypted is found again with its key, and what is on the disk does not show it; a new key takes the
// place of the old one at the next start, and a first key that of none.
func TestEncryption(t *testing.T) {
	mem := vfs.NewMem()
	n := 0
	turn := func(keys Keys) {
		s, err := OpenMem(Options{FS: mem, Dir: "state", AppID: "an-app", Keys: keys, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.Equal(t, n, countSecrets(t, s))
		if keys.Current != nil {
			encryptedWith(t, mem, "state", keys.Current, "secret")
		}
		writeSecrets(t, s, n, n+2000)
		n += 2000
		require.Equal(t, n, countSecrets(t, s))
		require.NoError(t, s.Close())
	}
	turn(Keys{})
	shown := false
	for _, b := range everything(t, mem, "state") {
		shown = shown || bytes.Contains(b, []byte("an-app"))
	}
	require.True(t, shown, "what is not encrypted shows: the check can fail")
	turn(Keys{Current: testKey(1)})
	turn(Keys{Current: testKey(1)})
	turn(Keys{Current: testKey(2), Old: [][]byte{testKey(1)}})
	turn(Keys{Current: testKey(2)}) // the old one is not needed any more
	turn(Keys{Current: testKey(3), Old: [][]byte{testKey(1), testKey(2)}})

	for name, keys := range map[string]Keys{"no key": {}, "another key": {Current: testKey(9)}, "an old key": {Current: testKey(2), Old: [][]byte{testKey(1)}}} {
		_, err := OpenMem(Options{FS: mem, Dir: "state", AppID: "an-app", Keys: keys, Logger: slog.New(slog.DiscardHandler)})
		require.ErrorIs(t, err, ErrKey, name)
	}
	turn(Keys{Current: testKey(3)})
}

// A process that is killed while the directory is encrypted anew goes on with it when it starts again.
func TestKilledWhileTheKeyChanges(t *testing.T) {
	for stop := range 12 {
		mem := vfs.NewMem()
		o := Options{FS: mem, Dir: "state", AppID: "an-app", Logger: slog.New(slog.DiscardHandler)}
		if stop%2 == 0 {
			o.Keys = Keys{Current: testKey(1)}
		}
		s, err := OpenMem(o)
		require.NoError(t, err)
		writeSecrets(t, s, 0, 1500)
		require.NoError(t, s.Close())
		o.Keys = Keys{Current: testKey(2), Old: [][]byte{testKey(1)}}
		o.FS = &failing{FS: mem, left: stop}
		_, err = OpenMem(o)
		require.ErrorIs(t, err, errStopped, "at rename %d", stop)
		o.FS = mem
		s, err = OpenMem(o)
		require.NoError(t, err)
		require.Equal(t, 1500, countSecrets(t, s))
		require.NoError(t, s.Close()) // before it, files may be about to be written
		encryptedWith(t, mem, "state", testKey(2), "secret")
	}
}

var errStopped = errors.New("stopped here")

// failing fails from some rename on.
type failing struct {
	vfs.FS
	left int
}

func (f *failing) Rename(from, to string) error {
	if f.left--; f.left < 0 {
		return errStopped
	}
	return f.FS.Rename(from, to)
}

// Power is lost at a random moment, as in TestPowerLoss.
func TestPowerLossWithEncryption(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		s, err := OpenMem(Options{FS: CrashableFS(), Dir: "root/app", Keys: Keys{Current: testKey(1)}, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		var synced, n uint64
		for range rng.IntN(120) {
			n++
			sync := rng.IntN(10) == 0
			require.NoError(t, commitNumber(s, n, sync))
			if sync {
				synced = n
			}
		}
		clone, err := s.CrashClone(rng.IntN(101), seed)
		require.NoError(t, err, "seed %d", seed)
		got := checkPrefix(t, clone)
		require.GreaterOrEqual(t, got, synced, "seed %d: a synced batch is lost", seed)
		require.LessOrEqual(t, got, n)
		require.NoError(t, commitNumber(clone, got+1, true))
		require.NoError(t, clone.Close())
		require.NoError(t, s.Close())
	}
}

// Whatever is read and written where, a file holds what a plain one holds.
func TestEncryptedFilesAreFiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	mem := vfs.NewMem()
	c := &crypt{FS: mem, keys: Keys{Current: testKey(1)}}
	var want []byte
	f, err := c.Create("f", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	for range 200 {
		p := make([]byte, rng.IntN(100))
		for i := range p {
			p[i] = byte(rng.IntN(256))
		}
		before := bytes.Clone(p)
		n, err := f.Write(p)
		require.NoError(t, err)
		require.Equal(t, len(p), n)
		require.Equal(t, before, p, "it may be tried again")
		want = append(want, p...)
	}
	require.NoError(t, f.Close())
	f, err = c.Open("f")
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	require.EqualValues(t, len(want), info.Size())
	require.Equal(t, vfs.InvalidFd, f.Fd())
	for range 300 {
		from := rng.IntN(len(want))
		p := make([]byte, rng.IntN(len(want)-from))
		n, err := f.ReadAt(p, int64(from))
		require.NoError(t, err)
		require.Equal(t, want[from:from+n], p)
	}
	all, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, want, all)
	require.NoError(t, f.Close())

	f, err = c.OpenReadWrite("f", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("in between"), 1001)
	require.NoError(t, err)
	copy(want[1001:], "in between")
	require.NoError(t, f.Close())
	got, err := readFile(c, "f")
	require.NoError(t, err)
	require.Equal(t, want, got)

	// The same bytes never look the same, and a file is not written over with a key stream that was used.
	for _, name := range []string{"g", "h"} {
		require.NoError(t, writeFile(c, "", name, []byte("the same")))
	}
	g, err := readFile(mem, "g")
	require.NoError(t, err)
	h, err := readFile(mem, "h")
	require.NoError(t, err)
	require.NotEqual(t, g[cryptHeader:], h[cryptHeader:])
	r, err := c.ReuseForWrite("g", "k", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	k, err := readFile(mem, "k")
	require.NoError(t, err)
	require.Len(t, k, cryptHeader)
	require.NotEqual(t, g[:cryptHeader], k)
}

// What leaves the machine can only have been made with one of the keys.
func TestSeal(t *testing.T) {
	with := func(keys Keys) *Store { return &Store{opts: Options{Keys: keys}} }
	none, one, two := with(Keys{}), with(Keys{Current: testKey(1)}), with(Keys{Current: testKey(2), Old: [][]byte{testKey(1)}})
	body := []byte(`{"a": 1}`)
	for _, s := range []*Store{none, one, two} {
		got, err := s.Unseal(s.Seal(body))
		require.NoError(t, err)
		require.Equal(t, body, []byte(got))
	}
	_, err := two.Unseal(one.Seal(body))
	require.NoError(t, err)
	for _, file := range [][]byte{none.Seal(body), two.Seal(body), bytes.Replace(one.Seal(body), []byte("1}"), []byte("2}"), 1), nil} {
		_, err := one.Unseal(file)
		require.Error(t, err)
	}
}

// Keys are shown by nothing, and wrong ones are refused.
func TestKeys(t *testing.T) {
	k := Keys{Current: []byte("0123456789abcdef0123456789abcdef"), Old: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}}
	require.NoError(t, k.Check())
	j, err := k.MarshalJSON()
	require.NoError(t, err)
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %x %s", k, k, k, k, k), string(j), k.LogValue().String(), k.GoString()} {
		require.NotContains(t, s, "0123")
		require.NotContains(t, s, "3031")
		require.Contains(t, s, "[redacted]")
	}
	assert.ErrorContains(t, Keys{Current: []byte("short")}.Check(), "a key has 5 bytes: it must have 32")
	assert.ErrorContains(t, Keys{Old: [][]byte{testKey(1)}}.Check(), "no current one")
}

// Files are for the user alone, copies of the database too.
func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := OpenMem(Options{FS: disk{vfs.Default}, Dir: dir, Keys: Keys{Current: testKey(1)}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	writeSecrets(t, s, 0, 1000)
	c, err := s.Checkpoint()
	require.NoError(t, err)
	i, err := s.NewImport("x")
	require.NoError(t, err)
	for _, f := range c.Files {
		in, err := c.Open(f.Name)
		require.NoError(t, err)
		out, err := i.Create(f.Name)
		require.NoError(t, err)
		_, err = io.Copy(out, in)
		require.NoError(t, errors.Join(err, in.Close(), out.Close()))
	}
	require.NoError(t, i.Open())
	n := 0
	require.NoError(t, i.View(1).Scan(nil, nil, func(_, v []byte) error {
		n++
		return nil
	}))
	require.Equal(t, 1000, n, "a copy is read with the key")
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // the database goes on deleting what it does not need
		}
		require.NoError(t, err)
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		assert.Equal(t, want, info.Mode().Perm(), path)
		return nil
	}))
	require.NoError(t, i.Close())
	require.NoError(t, c.Remove())
	require.NoError(t, s.Close())
}
