package store

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
)

// manifestFormat is the newest format of a state directory that this program knows. It covers the manifest and the
// layout of the database's keys.
const manifestFormat = 1

// mendDamage says what to do with a damaged state directory.
const mendDamage = "move the directory away, and the state is rebuilt from where it was committed"

// manifest says whose state a directory holds and how it is laid out. The file is
//
//	{"checksum": "sha256:…", "manifest": {…}}
//
// with the checksum over the bytes of the inner object, so that a program that does not know its format can still tell a
// newer file from a damaged one.
type manifest struct {
	Format    int         `json:"format"`
	App       string      `json:"app"`
	Database  string      `json:"database"` // the id that the database holds too
	KeyGroups int         `json:"key_groups"`
	Exchange  string      `json:"exchange"`
	Stores    []StoreInfo `json:"stores"` // all there have been: their data is still in the database
}

func (m *manifest) equal(o *manifest) bool {
	return m.Format == o.Format && m.App == o.App && m.Database == o.Database && m.KeyGroups == o.KeyGroups &&
		m.Exchange == o.Exchange && slices.Equal(m.Stores, o.Stores)
}

func sealManifest(body []byte) []byte {
	return fmt.Appendf(nil, "{\"checksum\": \"sha256:%x\",\n\"manifest\": %s}\n", sha256.Sum256(body), body)
}

// openManifest returns the inner object, if the file is exactly what was written.
func openManifest(file []byte) ([]byte, error) {
	var envelope struct {
		Manifest json.RawMessage `json:"manifest"`
	}
	if err := json.Unmarshal(file, &envelope); err != nil {
		return nil, err
	}
	if !bytes.Equal(file, sealManifest(envelope.Manifest)) {
		return nil, errors.New("its checksum does not match")
	}
	return envelope.Manifest, nil
}

// readManifest returns nil if there is no manifest.
func (s *Store) readManifest() (*manifest, error) {
	name := s.path("manifest.json")
	file, err := readFile(s.fs, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	body, err := openManifest(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w: restore the file, or %s", ErrDamaged, name, err, mendDamage)
	}
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(body, &format); err != nil {
		return nil, fmt.Errorf("%w: %s: %w: %s", ErrDamaged, name, err, mendDamage)
	}
	if format.Format > manifestFormat {
		return nil, fmt.Errorf("%w: state directory %s was written by a newer version (format %d, this program knows %d): "+
			"upgrade the program or use another directory", ErrNewer, s.opts.Dir, format.Format, manifestFormat)
	}
	m := new(manifest)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w: %s", ErrDamaged, name, err, mendDamage)
	}
	return m, nil
}

func (s *Store) writeManifest(m *manifest) error {
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	return writeFile(s.fs, s.opts.Dir, "manifest.json", sealManifest(body))
}

// Seal returns the bytes of a file that holds body and lets Unseal tell whether it is what was written. If the state is
// encrypted, nobody without the key can make such a file (HMAC-SHA-256); the body itself is not encrypted.
func (s *Store) Seal(body []byte) []byte {
	if key := s.opts.Keys.Current; key != nil {
		return sealWith(key, body)
	}
	return sealManifest(body)
}

func sealWith(key, body []byte) []byte {
	return fmt.Appendf(nil, "{\"checksum\": \"hmac-sha256:%v:%x\",\n\"manifest\": %s}\n", idOf(key), authenticate(key, body), body)
}

// Unseal returns what was given to Seal, if the file is exactly what Seal returned, with this key or an old one.
func (s *Store) Unseal(file []byte) ([]byte, error) {
	keys := s.opts.Keys.all()
	if len(keys) == 0 {
		return openManifest(file)
	}
	var envelope struct {
		Manifest json.RawMessage `json:"manifest"`
	}
	if err := json.Unmarshal(file, &envelope); err != nil {
		return nil, err
	}
	for _, key := range keys {
		if hmac.Equal(file, sealWith(key, envelope.Manifest)) {
			return envelope.Manifest, nil
		}
	}
	return nil, errors.New("it was not made with one of the keys")
}

// Layout says whose state a database holds, and how it is laid out.
type Layout struct {
	App       string      `json:"app"`
	KeyGroups int         `json:"key_groups"`
	Exchange  string      `json:"exchange"`
	Stores    []StoreInfo `json:"stores"`
}

// Layout returns that of this store.
func (s *Store) Layout() Layout {
	return Layout{App: s.opts.AppID, KeyGroups: s.opts.KeyGroups, Exchange: s.opts.Exchange, Stores: slices.Clone(s.opts.Stores)}
}

// Accepts returns an error if the state of another database cannot be used here.
func (s *Store) Accepts(l Layout) error {
	return s.checkManifest(&manifest{App: l.App, KeyGroups: l.KeyGroups, Exchange: l.Exchange, Stores: l.Stores})
}

// checkManifest refuses a directory that this topology must not touch.
func (s *Store) checkManifest(m *manifest) error {
	o := &s.opts
	if m.App != o.AppID {
		return fmt.Errorf("%w: %s holds the state of application %q, this is %q: give each application a directory of its own",
			ErrOtherTopology, o.Dir, m.App, o.AppID)
	}
	if m.KeyGroups != o.KeyGroups {
		return fmt.Errorf("%w: %s is laid out in %d key groups, the configuration says %d: "+
			"the number is fixed when the state is made; set it back, or start with a new directory and new changelog topics",
			ErrOtherLayout, o.Dir, m.KeyGroups, o.KeyGroups)
	}
	if m.Exchange != o.Exchange {
		return fmt.Errorf("%w: %s is laid out for exchange by %s, the configuration says %s: "+
			"set it back, or start with a new directory and new changelog topics", ErrOtherLayout, o.Dir, m.Exchange, o.Exchange)
	}
	return s.checkStores(m)
}

func (s *Store) checkStores(m *manifest) error {
	declared := make(map[string]StoreInfo)
	for _, info := range s.opts.Stores {
		declared[info.Name] = info
	}
	var gone []string
	for _, was := range m.Stores {
		is, ok := declared[was.Name]
		if !ok {
			gone = append(gone, was.Name)
			continue
		}
		if is.Evolves {
			was.Value = is.Value
		}
		if d := differences(was, is); d != "" {
			return fmt.Errorf("%w: %s: store %q has changed: %s: rename the store, so that it starts empty, or reset the directory",
				ErrOtherTopology, s.opts.Dir, was.Name, d)
		}
	}
	if len(gone) > 0 && len(gone) == len(m.Stores) {
		return fmt.Errorf("%w: %s: the topology has none of the stores in it (%s): name another directory, or reset this one",
			ErrOtherTopology, s.opts.Dir, strings.Join(gone, ", "))
	}
	if len(gone) > 0 {
		s.opts.Logger.Warn("stores are not in the topology any more; their data stays in the state directory until it is reset",
			"dir", s.opts.Dir, "stores", gone)
	}
	return nil
}

// differences says in words how a store was changed in a way that makes its bytes unreadable.
func differences(was, is StoreInfo) string {
	var d []string
	add := func(what, was, is string) {
		if was != is {
			d = append(d, fmt.Sprintf("%s was %q and is %q", what, was, is))
		}
	}
	add("kind", was.Kind, is.Kind)
	add("key codec", was.Key, is.Key)
	add("value codec", was.Value, is.Value)
	add("window", was.Window, is.Window)
	return strings.Join(d, ", ")
}

// nextManifest is the manifest after this opening: what is declared now, and what was declared before and is gone.
func (s *Store) nextManifest(old *manifest, database string) *manifest {
	m := &manifest{
		Format: manifestFormat, App: s.opts.AppID, Database: database,
		KeyGroups: s.opts.KeyGroups, Exchange: s.opts.Exchange,
		Stores: slices.Clone(s.opts.Stores),
	}
	if old != nil {
		for _, was := range old.Stores {
			if !slices.ContainsFunc(m.Stores, func(is StoreInfo) bool { return is.Name == was.Name }) {
				m.Stores = append(m.Stores, was)
			}
		}
	}
	for i := range m.Stores {
		m.Stores[i].Evolves = false // as it is when it is read
	}
	slices.SortFunc(m.Stores, func(a, b StoreInfo) int { return strings.Compare(a.Name, b.Name) })
	return m
}

// openInstanceID reads the identity of this instance, and makes one the first time.
func (s *Store) openInstanceID() (string, error) {
	name := s.path("instance-id")
	file, err := readFile(s.fs, name)
	if errors.Is(err, os.ErrNotExist) {
		id := uuid.NewString()
		return id, writeFile(s.fs, s.opts.Dir, "instance-id", []byte(id+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	id, err := uuid.Parse(strings.TrimSuffix(string(file), "\n"))
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w: remove the file, and the instance gets a new identity", ErrDamaged, name, err)
	}
	return id.String(), nil
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// writeFile writes a file so that after a crash there is either the old one or the new one.
func writeFile(fs vfs.FS, dir, name string, b []byte) (err error) {
	path := fs.PathJoin(dir, name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	f, err := fs.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Clone(b)) // Write may change what it is given
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes a directory and those above it, so that they are still there after a crash.
func makeDir(fs vfs.FS, dir string) error {
	var above []string // directories in which one is made
	for d := dir; ; {
		if _, err := fs.Stat(d); !errors.Is(err, os.ErrNotExist) {
			break
		}
		up := fs.PathDir(d)
		if up == d {
			break
		}
		above = append(above, up)
		d = up
	}
	if err := fs.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	for _, d := range above {
		if err := syncDir(fs, d); err != nil {
			return err
		}
	}
	return nil
}
