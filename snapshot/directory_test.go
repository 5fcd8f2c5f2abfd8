package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/snapshot"
)

func create(s snapshot.Store, name, body string) error {
	return s.Create(context.Background(), name, strings.NewReader(body), int64(len(body)))
}

func TestDirectory(t *testing.T) {
	root := t.TempDir()
	d := snapshot.NewDirectory(filepath.Join(root, "made"))
	list, err := d.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, create(d, "p/app/one/files/a", "alpha"))
	require.NoError(t, create(d, "p/app/one/manifest-1", "m"))
	require.NoError(t, create(d, "p/app/empty", ""))
	require.ErrorIs(t, create(d, "p/app/one/files/a", "other"), snapshot.ErrExists)

	r, err := d.Open(t.Context(), "p/app/one/files/a")
	require.NoError(t, err)
	body, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, "alpha", string(body), "what was there first stays")
	_, err = d.Open(t.Context(), "p/app/nothing")
	require.ErrorIs(t, err, snapshot.ErrNotFound)

	list, err = d.List(t.Context(), "p/app/one/")
	require.NoError(t, err)
	require.ElementsMatch(t, []snapshot.Object{{Name: "p/app/one/files/a", Size: 5}, {Name: "p/app/one/manifest-1", Size: 1}}, list)
	require.NoError(t, d.Delete(t.Context(), "p/app/one/files/a"))
	require.NoError(t, d.Delete(t.Context(), "p/app/one/files/a"))
	list, err = d.List(t.Context(), "p/app/one/files")
	require.NoError(t, err)
	require.Empty(t, list)

	require.NoError(t, filepath.Walk(filepath.Join(root, "made"), func(path string, info os.FileInfo, err error) error {
		require.NoError(t, err)
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		assert.Equal(t, want, info.Mode().Perm(), path)
		return nil
	}))
}

func TestDirectoryIsNotLeft(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "secret"), []byte("s"), 0o600))
	d := snapshot.NewDirectory(filepath.Join(root, "in"))
	require.NoError(t, create(d, "a", "x"))
	require.Error(t, create(d, "../made", "x"))
	_, err := d.Open(t.Context(), "../secret")
	require.Error(t, err)
	require.Error(t, d.Delete(t.Context(), "../secret"))
	require.FileExists(t, filepath.Join(root, "secret"))
	require.NoFileExists(t, filepath.Join(root, "made"))
}

// What was not written whole is not there.
func TestACreateThatFailsLeavesNothing(t *testing.T) {
	root := t.TempDir()
	d := snapshot.NewDirectory(root)
	require.ErrorContains(t, d.Create(t.Context(), "a", strings.NewReader("short"), 6), "5 bytes, and should have 6")
	broken := errors.New("broken")
	require.ErrorIs(t, d.Create(t.Context(), "a", failing{strings.NewReader("x"), broken}, 1), broken)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.Create(ended, "a", strings.NewReader("x"), 1), context.Canceled)
	files, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, files)
}

type failing struct {
	io.ReadSeeker
	err error
}

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Of many that create a name, one succeeds, and its bytes are what is there.
func TestOneOfManyCreates(t *testing.T) {
	d := snapshot.NewDirectory(t.TempDir())
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			switch err := create(d, "x/manifest", strings.Repeat(string(rune('a'+i)), 1000)); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, snapshot.ErrExists):
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, won.Load())
	r, err := d.Open(t.Context(), "x/manifest")
	require.NoError(t, err)
	body, err := io.ReadAll(r)
	require.NoError(t, errors.Join(err, r.Close()))
	require.Equal(t, bytes.Repeat(body[:1], 1000), body)
}
