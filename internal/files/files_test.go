package files_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/internal/files"
	"github.com/millstream-go/millstream/source"
)

func spec(fsys fs.FS) *source.FileSpec {
	return &source.FileSpec{FS: fsys, Pattern: "*", Split: bufio.ScanLines}
}

type read struct {
	value    string
	at, next source.Position
}

// all reads to the end, or to an error, from a position.
func all(t require.TestingT, s *source.FileSpec, from source.Position) (list []read, err error) {
	l, err := files.Open(s)
	require.NoError(t, err)
	r, err := l.NewReader(from)
	require.NoError(t, err)
	defer r.Close()
	for {
		recs, next, err := r.Next()
		if err == io.EOF {
			require.Equal(t, source.AtFile(len(l.Names), 0), next)
			return list, nil
		}
		if err != nil {
			return list, err
		}
		require.NotEmpty(t, recs)
		for i, rec := range recs {
			after := next
			if i+1 < len(recs) {
				after = recs[i+1].Position
			}
			require.NotNil(t, rec.Value)
			list = append(list, read{string(rec.Value), rec.Position, after})
		}
	}
}

func values(list []read) (v []string) {
	for _, r := range list {
		v = append(v, r.value)
	}
	return v
}

// Whatever lines there are, they are read in order, and reading can go on behind any of them, also where the file system
// cannot seek.
func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := fstest.MapFS{"sub/x": {Data: []byte("below a folder")}}
		var want []string
		for _, name := range []string{"a", "b", "c"} {
			lines := rapid.SliceOfN(rapid.OneOf(rapid.StringMatching(`[a-z]{0,9}`), rapid.Just(strings.Repeat("x", 300<<10))), 0, 4).Draw(t, name)
			data := strings.Join(lines, "\n")
			if len(lines) > 0 && (lines[len(lines)-1] == "" || rapid.Bool().Draw(t, "last line ends")) {
				data += "\n"
			}
			want = append(want, lines...)
			fsys[name] = &fstest.MapFile{Data: []byte(data)}
		}
		var fs fs.FS = fsys
		if rapid.Bool().Draw(t, "cannot seek") {
			fs = plain{fsys}
		}
		list, err := all(t, spec(fs), source.AtFile(0, 0))
		require.NoError(t, err)
		require.Equal(t, want, values(list))
		if len(list) > 0 {
			i := rapid.IntRange(0, len(list)-1).Draw(t, "go on behind")
			rest, err := all(t, spec(fs), list[i].next)
			require.NoError(t, err)
			require.Equal(t, want[i+1:], append([]string{}, values(rest)...))
		}
	})
}

// plain is a file system without seeking.
type plain struct{ fs.FS }

func (p plain) Open(name string) (fs.File, error) {
	f, err := p.FS.Open(name)
	if info, e := fs.Stat(p.FS, name); err != nil || e != nil || info.IsDir() {
		return f, errors.Join(err, e)
	}
	return struct{ fs.File }{f}, nil
}

func (p plain) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(p.FS, name) }

// sized reads records that have their length in front.
func sized(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if len(data) < 1 {
		return 0, nil, nil
	}
	n, k := binary.Uvarint(data)
	switch {
	case k < 0 || n > 1<<40:
		return 0, nil, errors.New("length is damaged")
	case k == 0 || len(data) < k+int(n):
		return 0, nil, nil
	}
	return k + int(n), data[k : k+int(n)], nil
}

func TestSplit(t *testing.T) {
	data := func(s string) *source.FileSpec {
		x := spec(fstest.MapFS{"f": {Data: []byte(s)}})
		x.Split = sized
		return x
	}
	list, err := all(t, data("\x01a\x00\x03b\nc"), source.AtFile(0, 0))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "", "b\nc"}, values(list))

	list, err = all(t, data("\x01a\x05bc"), source.AtFile(0, 0))
	require.ErrorIs(t, err, files.ErrNoRecord)
	require.ErrorContains(t, err, "file f, byte 2: no record: the file ends in the middle of one")
	require.Equal(t, []string{"a"}, values(list), "what comes before is read")

	_, err = all(t, data("\x01a\xff\xff\xff\xff\xff\xff\xff\xff\x7fb"), source.AtFile(0, 0))
	require.ErrorContains(t, err, "byte 2: no record: length is damaged")

	x := data("abc")
	x.Split = func(data []byte, atEOF bool) (int, []byte, error) { return 1, data[:1], bufio.ErrFinalToken }
	list, err = all(t, x, source.AtFile(0, 0))
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, values(list))

	for name, n := range map[string]int{"without moving on": 0, "moves on by 9 of 3 bytes": 9} {
		x.Split = func(data []byte, atEOF bool) (int, []byte, error) { return n, data[:1], nil }
		_, err = all(t, x, source.AtFile(0, 0))
		require.ErrorContains(t, err, name)
	}
}

func TestTooLong(t *testing.T) {
	if testing.Short() {
		t.Skip("64 MiB")
	}
	_, err := all(t, spec(fstest.MapFS{"f": {Data: make([]byte, files.MaxRecord+1)}}), source.AtFile(0, 0))
	require.ErrorContains(t, err, "no record of up to 67108864 bytes begins here")
}

// The mark stands for names and sizes.
func TestMark(t *testing.T) {
	mark := func(fsys fstest.MapFS) string {
		l, err := files.Open(spec(fsys))
		require.NoError(t, err)
		return l.Mark()
	}
	one := mark(fstest.MapFS{"a": {Data: []byte("1")}, "b": {Data: []byte("2")}})
	require.Equal(t, one, mark(fstest.MapFS{"a": {Data: []byte("3")}, "b": {Data: []byte("4")}, "folder": {Mode: fs.ModeDir}}))
	require.NotEqual(t, one, mark(fstest.MapFS{"a": {Data: []byte("1")}, "c": {Data: []byte("2")}}))
	require.NotEqual(t, one, mark(fstest.MapFS{"a": {Data: []byte("1")}, "b": {Data: []byte("22")}}))
	require.NotEqual(t, one, mark(fstest.MapFS{"a": {Data: []byte("1")}}))
}
