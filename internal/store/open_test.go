package store

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	spend = StoreInfo{Name: "spend-1h", Kind: "window", Key: "string", Value: "json(Spend)", Subtopology: "1", Window: "hopping 1h0m0s/1m0s"}
	seen  = StoreInfo{Name: "seen", Kind: "table", Key: "string", Value: "int64", Subtopology: "1"}
)

func TestOptions(t *testing.T) {
	good := Options{Dir: "d", AppID: "a", KeyGroups: 1, FS: MemFS()}
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no dir":         {func(o *Options) { o.Dir = "" }, "no state directory"},
		"no app":         {func(o *Options) { o.AppID = "" }, "application id"},
		"dot":            {func(o *Options) { o.AppID = "." }, "application id"},
		"dots":           {func(o *Options) { o.AppID = ".." }, "application id"},
		"slash":          {func(o *Options) { o.AppID = "a/b" }, `"a/b"`},
		"long":           {func(o *Options) { o.AppID = strings.Repeat("a", 201) }, "1 to 200"},
		"umlaut":         {func(o *Options) { o.AppID = "ä" }, "application id"},
		"key groups":     {func(o *Options) { o.KeyGroups = 0 }, "at least one"},
		"two of a name":  {func(o *Options) { o.Stores = []StoreInfo{seen, seen} }, `two stores are named "seen"`},
		"file in place":  {func(o *Options) { o.Dir = writeTemp(t); o.FS = nil }, "is not a directory"},
		"symlinked dir":  {func(o *Options) { o.Dir = linkTemp(t); o.FS = nil }, "is a symbolic link"},
		"dir is no path": {func(o *Options) { o.Dir = writeTemp(t) + "/x"; o.FS = nil }, "state directory"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			_, err := Open(o)
			require.ErrorContains(t, err, c.want)
		})
	}
	good.AppID = strings.Repeat("aZ09._-x", 25)
	s, err := Open(good)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func writeTemp(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	return name
}

func linkTemp(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(t.TempDir(), name))
	return name
}

func TestSecondOpenerIsRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"memory": {FS: MemFS(), Dir: "state"},
		"disk":   {Dir: filepath.Join(t.TempDir(), "state")},
	} {
		t.Run(name, func(t *testing.T) {
			o.AppID, o.KeyGroups = "app", 1
			s, err := Open(o)
			require.NoError(t, err)
			_, err = Open(o)
			require.ErrorIs(t, err, ErrInUse)
			require.ErrorContains(t, err, o.Dir)
			require.ErrorContains(t, err, "stop that one, or give each instance a directory of its own")
			put(t, s, 1, "a=1") // the first is not harmed
			require.NoError(t, s.Close())

			s, err = Open(o)
			require.NoError(t, err)
			require.NoError(t, s.Close())
		})
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root", "app")
	s, err := Open(Options{Dir: dir, AppID: "app", KeyGroups: 1})
	require.NoError(t, err)
	put(t, s, 1, "a=1")
	require.NoError(t, s.db.Flush())
	require.NoError(t, s.Close())
	var files int
	require.NoError(t, filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		if d.IsDir() {
			assert.Equal(t, dirMode, info.Mode().Perm(), path)
		} else {
			assert.Equal(t, fileMode, info.Mode().Perm(), path)
			files++
		}
		return nil
	}))
	assert.Greater(t, files, 6)
}

func TestManifestRefusals(t *testing.T) {
	base := Options{Dir: "state/app", AppID: "app", KeyGroups: 8, Exchange: "topic", Stores: []StoreInfo{spend, seen}}
	changed := func(change func(*StoreInfo)) func(*Options) {
		return func(o *Options) {
			info := spend
			change(&info)
			o.Stores = []StoreInfo{info, seen}
		}
	}
	for name, c := range map[string]struct {
		change func(*Options)
		want   error
		text   string
	}{
		"app": {
			func(o *Options) { o.AppID = "other" }, ErrOtherTopology,
			`state directory belongs to another topology: state/app holds the state of application "app", this is "other": ` +
				"give each application a directory of its own",
		},
		"key groups": {
			func(o *Options) { o.KeyGroups = 16 }, ErrOtherLayout,
			"state directory has another layout: state/app is laid out in 8 key groups, the configuration says 16: the number " +
				"is fixed when the state is made; set it back, or start with a new directory and new changelog topics",
		},
		"exchange": {
			func(o *Options) { o.Exchange = "memory" }, ErrOtherLayout,
			"state directory has another layout: state/app is laid out for exchange by topic, the configuration says memory: " +
				"set it back, or start with a new directory and new changelog topics",
		},
		"kind":  {changed(func(i *StoreInfo) { i.Kind = "session" }), ErrOtherTopology, `kind was "window" and is "session"`},
		"key":   {changed(func(i *StoreInfo) { i.Key = "int64" }), ErrOtherTopology, `key codec was "string" and is "int64"`},
		"value": {changed(func(i *StoreInfo) { i.Value = "avro" }), ErrOtherTopology, `value codec was "json(Spend)" and is "avro"`},
		"window": {
			changed(func(i *StoreInfo) { i.Window = "hopping 1h0m0s/5m0s" }), ErrOtherTopology,
			`state directory belongs to another topology: state/app: store "spend-1h" has changed: window was "hopping 1h0m0s/1m0s" ` +
				`and is "hopping 1h0m0s/5m0s": rename the store, so that it starts empty, or reset the directory`,
		},
		"none left": {
			func(o *Options) { o.Stores = []StoreInfo{{Name: "new"}} }, ErrOtherTopology,
			"the topology has none of the stores in it (seen, spend-1h): name another directory, or reset this one",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := base
			o.FS = MemFS()
			s, err := Open(o)
			require.NoError(t, err)
			put(t, s, 1, "a=1")
			require.NoError(t, s.Close())

			other := o
			c.change(&other)
			_, err = Open(other)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.text)

			s, err = Open(o) // the refusal changed nothing, and left nothing locked
			require.NoError(t, err)
			assert.Equal(t, []string{"a=1"}, list(t, s.View(1), nil, nil))
			require.NoError(t, s.Close())
		})
	}
}

func TestStoresComeAndGo(t *testing.T) {
	var log bytes.Buffer
	o := Options{FS: MemFS(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
	open := func(stores ...StoreInfo) []StoreInfo {
		t.Helper()
		o.Stores = stores
		s, err := OpenMem(o)
		require.NoError(t, err)
		m, err := s.readManifest()
		require.NoError(t, err)
		require.NoError(t, s.Close())
		return m.Stores
	}
	moved := spend
	moved.Subtopology = "2"
	assert.Empty(t, open())
	assert.Equal(t, []StoreInfo{spend}, open(spend))
	assert.Equal(t, []StoreInfo{seen, spend}, open(spend, seen))
	assert.Empty(t, log.String())
	assert.Equal(t, []StoreInfo{seen, spend}, open(spend), "a removed store stays known: its data is there")
	assert.Contains(t, log.String(), "stores are not in the topology any more")
	assert.Contains(t, log.String(), "seen")
	assert.Equal(t, []StoreInfo{seen, moved}, open(moved), "a store may move to another subtopology")

	other := seen
	other.Value = "string"
	o.Stores = []StoreInfo{spend, other}
	_, err := OpenMem(o)
	require.ErrorIs(t, err, ErrOtherTopology, "a removed store that comes back is compared too")
}

func TestNewerFormat(t *testing.T) {
	o := Options{FS: MemFS(), Dir: "state"}
	s, err := OpenMem(o)
	require.NoError(t, err)
	body := []byte(`{"format": 3, "app": ["not", "a", "string"], "more": true}`)
	require.NoError(t, writeFile(s.fs, "state", "manifest.json", sealManifest(body)))
	require.NoError(t, s.Close())
	_, err = OpenMem(o)
	require.ErrorIs(t, err, ErrNewer)
	require.ErrorContains(t, err, "state directory state was written by a newer version (format 3, this program knows 1): "+
		"upgrade the program or use another directory")
}

// The manifest of format 1 must be readable for ever.
func TestGoldenManifest(t *testing.T) {
	file, err := os.ReadFile("testdata/manifest-1.json")
	require.NoError(t, err)
	o := Options{FS: MemFS(), Dir: "state", AppID: "card-features", KeyGroups: 128, Exchange: "topic", Stores: []StoreInfo{spend, seen}}
	s, err := OpenMem(o)
	require.NoError(t, err)
	put(t, s, 1, "a=1")
	var golden manifest
	body, err := openManifest(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(body, &golden))
	b := s.db.NewBatch() // the database gets the name that the golden file knows
	require.NoError(t, b.Set(ownKey, []byte(golden.Database), nil))
	require.NoError(t, b.Commit(nil))
	require.NoError(t, writeFile(s.fs, "state", "manifest.json", file))
	require.NoError(t, s.Close())

	s = openMem(t, o)
	assert.Equal(t, []string{"a=1"}, list(t, s.View(1), nil, nil))
	now, err := readFile(s.fs, "state/manifest.json")
	require.NoError(t, err)
	assert.Equal(t, string(file), string(now), "the same topology writes the same manifest")
}

func TestInstanceID(t *testing.T) {
	a, b := openMem(t, Options{}), openMem(t, Options{})
	assert.NoError(t, uuid.Validate(a.InstanceID()))
	assert.NotEqual(t, a.InstanceID(), b.InstanceID())

	o := Options{FS: MemFS(), Dir: "state"}
	s, err := OpenMem(o)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, writeFile(o.FS, "state", "instance-id", []byte("not an id\n")))
	_, err = OpenMem(o)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "remove the file, and the instance gets a new identity")
}
