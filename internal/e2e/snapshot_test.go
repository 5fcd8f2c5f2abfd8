package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/snapshot"
	"github.com/millstream-go/millstream/stream"
)

// An instance with an empty disk takes its tasks from what another instance has copied, reads the rest of the changelog,
// and goes on as if it had been the same. If the copy is damaged, that is told, and the changelog is enough.
func TestStateFromASnapshot(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"whole", "task by task", "damaged", "encrypted"} {
		damaged := name == "damaged"
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s, dir := start(t, totalsTopics()), newShop(8), t.TempDir()
			kept := func(c *stream.Config) {
				c.Dynamic = true
				if name == "encrypted" {
					c.StateKeys.Current = []byte("0123456789abcdef0123456789abcdef")
				}
				c.Snapshots = snapshot.Config{Store: snapshot.NewDirectory(dir), Prefix: "copies/", Every: 50 * time.Millisecond}
			}
			b.write(t, s.orders(t, 100)...)
			one := run(t, totals(b), b.config(t.TempDir(), kept))
			b.read(t, "updates", s.updates())
			in := filepath.Join(dir, "copies", b.name("app"))
			before := len(one.log.find("snapshot made"))
			require.Eventually(t, func() bool { return len(one.log.find("snapshot made")) > before+1 }, patience, 10*time.Millisecond)
			one.stop(t)
			b.write(t, s.orders(t, 20)...)
			require.NoError(t, filepath.Walk(in, func(path string, info os.FileInfo, err error) error {
				if err == nil && strings.Contains(path, "files") && !info.IsDir() {
					var file []byte
					if file, err = os.ReadFile(path); err == nil {
						require.Equal(t, name == "encrypted", strings.HasPrefix(string(file), "MSCRYPT1"))
					}
				}
				return err
			}))
			if damaged {
				require.NoError(t, filepath.Walk(in, func(path string, info os.FileInfo, err error) error {
					if err == nil && !info.IsDir() && info.Size() > 100 && strings.Contains(path, "files") {
						err = os.Truncate(path, info.Size()-1)
					}
					return err
				}))
			}
			there := t.TempDir()
			if name == "task by task" { // a directory that is not new does not begin with the whole
				st, err := totals(b).Build(b.config(there))
				require.NoError(t, err)
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				require.NoError(t, st.Run(ended))
			}
			two := run(t, totals(b), b.config(there, kept))
			b.write(t, s.end(t)...)
			s.check(t, b, true)
			require.Equal(t, name == "task by task", len(two.log.find("task taken from a snapshot")) > 0)
			require.Equal(t, name == "whole" || name == "encrypted", len(two.log.find("state begins with a snapshot")) > 0)
			require.Equal(t, damaged, len(two.log.find("snapshot cannot be used")) > 0)
			two.stop(t)
		})
	}
}

// Topics and group were deleted and the snapshots were not: what they hold is ahead of the new changelogs, and of no use.
func TestASnapshotOfDeletedTopics(t *testing.T) {
	t.Parallel()
	b, s, dir := start(t, totalsTopics()), newShop(8), t.TempDir()
	kept := func(c *stream.Config) {
		c.InstanceID = "one"
		c.Snapshots = snapshot.Config{Store: snapshot.NewDirectory(dir), Every: 50 * time.Millisecond}
	}
	b.write(t, s.orders(t, 100)...)
	one := run(t, totals(b), b.config(t.TempDir(), kept))
	b.read(t, "updates", s.updates())
	before := len(one.log.find("snapshot made"))
	require.Eventually(t, func() bool { return len(one.log.find("snapshot made")) > before+1 }, patience, 10*time.Millisecond)
	one.stop(t)

	adm := b.admin(t)
	_, err := adm.DeleteGroups(t.Context(), b.name("app"))
	require.NoError(t, err)
	for _, internal := range []string{"app-totals-changelog", "app-totals-repartition"} {
		_, err := adm.DeleteTopic(t.Context(), strings.Replace(internal, "app", b.name("app"), 1))
		require.NoError(t, err)
	}
	for topic, n := range totalsTopics() {
		_, err := adm.DeleteTopic(t.Context(), b.name(topic))
		require.NoError(t, err)
		b.create(t, topic, n, nil)
	}
	s = newShop(8)
	b.write(t, s.orders(t, 10)...)
	two := run(t, totals(b), b.config(t.TempDir(), kept))
	b.write(t, s.end(t)...)
	s.check(t, b, true)
	require.NotEmpty(t, two.log.find("state begins with a snapshot"))
	require.NotEmpty(t, two.log.find("snapshot is not used: it is ahead of the changelog"))
	two.stop(t)
}
