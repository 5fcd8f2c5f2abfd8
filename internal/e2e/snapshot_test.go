package e2e_test

import (
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
	for _, name := range []string{"whole", "damaged", "encrypted"} {
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
			two := run(t, totals(b), b.config(t.TempDir(), kept))
			b.write(t, s.end(t)...)
			s.check(t, b, true)
			if damaged {
				require.NotEmpty(t, two.log.find("snapshot cannot be used"))
				require.Empty(t, two.log.find("task taken from a snapshot"))
			} else {
				require.NotEmpty(t, two.log.find("task taken from a snapshot"))
				require.Empty(t, two.log.find("snapshot cannot be used"))
			}
			two.stop(t)
		})
	}
}
