package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	o := Options{FS: MemFS()}
	s, err := OpenMem(o)
	require.NoError(t, err)
	b := s.NewBatch()
	b.Set(1, []byte("a"), []byte("1"))
	require.NoError(t, b.Commit(false))
	v, ok, err := s.View(1).Get([]byte("a"), nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "1", string(v))
	s.Kill()
	s, err = OpenMem(o)
	require.NoError(t, err)
	_, ok, err = s.View(1).Get([]byte("a"), nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, s.Close())
	d, err := Open(Options{Dir: t.TempDir()+"/x/y", AppID: "a", KeyGroups: 1})
	require.NoError(t, err)
	require.NoError(t, d.Close())
}
