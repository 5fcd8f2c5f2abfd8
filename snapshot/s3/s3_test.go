package s3_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/snapshot"
	"github.com/millstream-go/millstream/snapshot/s3"
)

// bucket starts a server; f, if there is one, may change requests and answers.
func bucket(t *testing.T, f func(http.Handler) http.Handler) *s3.Bucket {
	t.Helper()
	h := gofakes3.New(s3mem.New()).Server()
	if f != nil {
		h = f(h)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := minio.New(strings.TrimPrefix(server.URL, "http://"), &minio.Options{Creds: credentials.NewStaticV4("k", "s", ""), Region: "us-east-1", Transport: transport})
	require.NoError(t, err)
	require.NoError(t, client.MakeBucket(t.Context(), "states", minio.MakeBucketOptions{}))
	return s3.New(client, "states")
}

func TestBucket(t *testing.T) {
	b := bucket(t, nil)
	create := func(name, body string) error {
		return b.Create(t.Context(), name, strings.NewReader(body), int64(len(body)))
	}
	require.NoError(t, b.Check(t.Context(), "p/"))
	list, err := b.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, list)
	big := strings.Repeat("0123456789", 2_000_000)
	require.NoError(t, create("p/app/one/files/a", big))
	require.NoError(t, create("p/app/one/files/b", "b"))
	require.NoError(t, create("p/app/two/manifest", "m"))
	require.ErrorIs(t, create("p/app/one/files/a", "other"), snapshot.ErrExists)
	r, err := b.Open(t.Context(), "p/app/one/files/a")
	require.NoError(t, err)
	body, err := io.ReadAll(r)
	require.NoError(t, errors.Join(err, r.Close()))
	require.True(t, bytes.Equal([]byte(big), body), "what was there first stays")
	_, err = b.Open(t.Context(), "p/app/nothing")
	require.ErrorIs(t, err, snapshot.ErrNotFound)
	list, err = b.List(t.Context(), "p/app/one/")
	require.NoError(t, err)
	require.ElementsMatch(t, []snapshot.Object{{Name: "p/app/one/files/a", Size: int64(len(big))}, {Name: "p/app/one/files/b", Size: 1}}, list)
	require.NoError(t, b.Delete(t.Context(), "p/app/two/manifest"))
	require.NoError(t, b.Delete(t.Context(), "p/app/two/manifest"))
	_, err = b.Open(t.Context(), "p/app/two/manifest")
	require.ErrorIs(t, err, snapshot.ErrNotFound)
}

// A server that ignores the condition is found out.
func TestAServerWithoutConditions(t *testing.T) {
	b := bucket(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-None-Match")
			h.ServeHTTP(w, r)
		})
	})
	require.ErrorContains(t, b.Check(t.Context(), ""), "use one that knows conditional writes")
}

func TestErrorsSayWhatToDo(t *testing.T) {
	b := bucket(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "secret") {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	require.ErrorContains(t, b.Create(t.Context(), "secret", strings.NewReader("x"), 1), "s3:PutObject")
	_, err := b.Open(t.Context(), "secret")
	require.ErrorContains(t, err, "s3:GetObject")
}
