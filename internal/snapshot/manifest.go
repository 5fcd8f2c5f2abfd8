// Package snapshot copies the state of an instance to a store of objects, and brings tasks back from there.
//
// # What is in the store
//
//	<prefix><app>/<instance>/files/<sha256>         a file of a database that is not empty, by the checksum of its bytes
//	<prefix><app>/<instance>/manifest-<number>      which files make up a snapshot, and what is in it
//
// A manifest is created once all its files are there, by a write that fails if one of that number exists: it is what makes
// them a snapshot. Nothing is ever written over. Each instance writes in its own folder alone, so that what it deletes
// there cannot be what another one is about to refer to. Every instance reads all folders.
//
// # What is believed
//
// Nothing that was not compared. A manifest carries a checksum of itself, and is about the number and the instance that
// its name says; each file has the size and the SHA-256 that the manifest says, compared before the database is opened; and
// the database that opens consists of the manifest's tables, with the ranges of keys that it says.
// What does not match is named in the log, and the next older snapshot is taken, and at last the changelog alone.
//
// # What a snapshot is worth
//
// The store on the disk holds committed epochs only, and beside each task's entries the changelog position up to which
// they go. A copy of it is therefore a task's state at that position, whoever made it; what follows is read from the
// changelog, as for a local copy.
//
// Where there are no changelogs a snapshot is taken back as a whole, and there is an order of who may write them: see whole.go
// and term.go.
package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
)

// ErrDamaged: an object of a snapshot is missing, or is not what was written.
var ErrDamaged = errors.New("snapshot is damaged")

// format is the newest format of a manifest that this program knows.
const format = 1

// Manifest is what a snapshot consists of.
type Manifest struct {
	Format   int          `json:"format"`
	Instance string       `json:"instance"`
	Number   uint64       `json:"number"`
	Created  time.Time    `json:"created"`
	Layout   store.Layout `json:"layout"`
	Tasks    []Task       `json:"tasks"`
	Age      *task.Age    `json:"age,omitempty"` // how new the store is, at least, if it is of use as a whole only
	Files    []File       `json:"files"`
}

// Task is a task whose state a snapshot holds.
type Task struct {
	Subtopology string    `json:"subtopology"`
	Partition   int32     `json:"partition"`
	Changelog   string    `json:"changelog"`
	Next        int64     `json:"next"`    // the changelog position that its state reaches up to, at least
	Written     time.Time `json:"written"` // when that was written
	Epoch       uint64    `json:"epoch"`
	Owner       string    `json:"owner"` // whose epoch
}

// File is a file of the database.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	store.KeyRange
}

// task returns what the manifest says of a task.
func (m *Manifest) task(subtopology string, partition int32, changelog string) (Task, bool) {
	for _, t := range m.Tasks {
		if t.Subtopology == subtopology && t.Partition == partition && t.Changelog == changelog {
			return t, true
		}
	}
	return Task{}, false
}

// folder is what the names of an instance's objects begin with.
func folder(prefix, app, instance string) string { return prefix + app + "/" + instance + "/" }

func manifestName(folder string, number uint64) string {
	return fmt.Sprintf("%smanifest-%020d", folder, number)
}

func fileName(folder, sum string) string { return folder + "files/" + sum }

// manifestNumber reads the name of a manifest: the folder it is in, its instance, its number.
func manifestNumber(name string) (folder, instance string, number uint64, ok bool) {
	i := strings.LastIndexByte(name, '/')
	digits, ok := strings.CutPrefix(name[i+1:], "manifest-")
	if i < 0 || !ok || len(digits) != 20 {
		return "", "", 0, false
	}
	folder = name[:i+1]
	number, err := strconv.ParseUint(digits, 10, 64)
	return folder, folder[strings.LastIndexByte(folder[:i], '/')+1 : i], number, err == nil
}

// emptySum is the SHA-256 of nothing.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

var (
	checksum = regexp.MustCompile(`^[0-9a-f]{64}$`)
	plain    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`) // no way out of a directory
)

// parse reads a manifest that was found under a name.
func parse(st *store.Store, name string, file []byte) (*Manifest, error) {
	damaged := func(err error) (*Manifest, error) { return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, name, err) }
	body, err := st.Unseal(file)
	if err != nil {
		return damaged(err)
	}
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return damaged(err)
	}
	if head.Format > format {
		return nil, fmt.Errorf("snapshot %s was written by a newer version (format %d, this program knows %d)", name, head.Format, format)
	}
	m := new(Manifest)
	if err := json.Unmarshal(body, m); err != nil {
		return damaged(err)
	}
	if _, instance, number, ok := manifestNumber(name); !ok || m.Instance != instance || m.Number != number {
		return damaged(fmt.Errorf("it is number %d of instance %s", m.Number, m.Instance))
	}
	for _, f := range m.Files {
		if f.Size == 0 && f.SHA256 != emptySum || !checksum.MatchString(f.SHA256) || !plain.MatchString(f.Name) || f.Size < 0 {
			return damaged(fmt.Errorf("file %q of %d bytes with the checksum %q", f.Name, f.Size, f.SHA256))
		}
	}
	return m, nil
}
